/* share.h - which part of a channel each host of a job gets: distribution, instance groups, hosts. Pure.
 *
 * Hosts are algo-1, algo-2, ... counted through the instance groups in the order of the request; a job without groups
 * is one. A channel with InstanceGroupNames goes to the hosts of those groups only, and ShardedByS3Key deals it among
 * them (contract 2.11, 2.12).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

struct share_group {
	struct str name; /* view into the request */
	unsigned hosts;
};

enum { SHARE_GROUPS_MAX = 5 }; /* the API's limit, for groups and for the names in a channel */

/* ResourceConfig.InstanceGroups of a checked request; returns how many there are, 0: none. */
size_t share_groups(const json_t *resource_config, struct share_group *ret);

struct channel_share {
	bool absent;            /* the channel is not for this host */
	unsigned number, count; /* every count-th unit from number (from 0) on; 0 of 1: all */
};
/* names: InstanceGroupNames of the channel, none: for all. host: its number from 1, hosts: of the job. */
struct channel_share share_of(bool sharded, const struct share_group *groups, size_t group_count,
                              const struct str *names, size_t name_count, unsigned host, unsigned hosts);
/* The same for a channel of InputDataConfig as it is in the request. */
struct channel_share share_of_channel(const json_t *request, const json_t *channel, unsigned host, unsigned hosts);
