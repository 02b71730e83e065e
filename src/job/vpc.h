/* vpc.h - what the ids of a VpcConfig stand for here, by `network.NAME`, `subnet.ID` and `security_group.ID` of
 * bloomery.conf.
 *
 * Read once at start and never changed, so any thread may ask. A job is in the first of its Subnets, with the rules of
 * all its SecurityGroupIds together; what that means for its packets is net/limits.h's. The texts go into the work
 * orders.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"
#include "jobdir/spec.h"

struct vpc;
/* ERR_INVALID with the line of bloomery.conf that makes no sense. */
int vpc_new(const struct conf *conf, struct vpc **ret, struct err *e) must_check;
void vpc_free(struct vpc *v);           /* NULL is fine */
bool vpc_is_empty(const struct vpc *v); /* bloomery.conf names no subnet and no security group */
/* ERR_INVALID names all ids of the VpcConfig that bloomery.conf does not; or what they stand for together is too much.
 */
int vpc_check(const struct vpc *v, const json_t *vpc_config, struct err *e) must_check;
/* Writes them into a work order's network; ids that are not known (any more) let nothing pass. */
void vpc_fill(const struct vpc *v, const json_t *vpc_config, struct network_spec *n);
