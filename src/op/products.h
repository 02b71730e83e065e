/* products.h - imported products as algorithms of this server (product/shelf.h), inside op/ only.
 *
 * A product on the shelf has a row like any algorithm, under an ARN with its seller's account: so it is described,
 * listed and used as others are, by that ARN alone. The shelf is what counts: rows are made and removed by it, when
 * bloomeryd starts and whenever it is told that the shelf has changed:
 *
 *     POST /bloomery/products     {} → {"Added": N, "Removed": N, "Refused": {NAME: why}}
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

#define PRODUCTS_PATH "/bloomery/products"

/* Any thread of the server, and the loop's own before it runs. What cannot be read, or is no algorithm, is logged and
 * left out. *ret, a new reference: the answer. */
int products_sync(const struct api *api, json_t **ret, struct err *e) must_check;
/* Whether a request names an image of a product itself, by its name here or its digest: it would run without what holds
 * for products. in: of CreateTrainingJob, CreateAlgorithm, CreateModel or CreateModelPackage. ERR_INVALID says which.
 */
int products_check_images(const struct api *api, const json_t *in, struct err *e) must_check;
/* The answer to the POST. */
int products_answer(const struct api *api, struct buf *out, struct err *e) must_check;
