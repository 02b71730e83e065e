/* gpus.h - which GPUs each host of a job has: those of the machine (gpu/gpu.h), one host at a time each.
 *
 * Dealt when a job is placed, on the loop's thread, and written into the work orders of its hosts; free again when the
 * host is over. What hosts have that are placed already is read from their work orders at start, so nothing else need
 * be kept, and a kill at any moment neither loses a GPU nor deals it twice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/conf.h"
#include "gpu/gpu.h"

struct gpu_pool;
struct gpu_pool *gpu_pool_new(const struct conf *c); /* never NULL: there may be none */
void gpu_pool_free(struct gpu_pool *p);              /* NULL is fine */
const struct gpu_table *gpu_pool_table(const struct gpu_pool *p);
unsigned gpu_pool_idle(const struct gpu_pool *p);
/* n of the idle ones, which are enough, become the host's. */
void gpu_pool_take(struct gpu_pool *p, const char *host_id, unsigned n);
void gpu_pool_give(struct gpu_pool *p, const char *host_id); /* one that has none is fine */
/* At start: what the host has by its work order, whether there is such a GPU now or not. */
void gpu_pool_known(struct gpu_pool *p, const char *host_id, char *const *names, size_t n);
/* Copies of the names of what the host has, to be freed one by one; NULL for none. */
char **gpu_pool_names(const struct gpu_pool *p, const char *host_id, size_t *ret_n);
