/* network.h - which addresses each job has: `network_pool` of bloomery.conf, dealt out in pieces of a power of two.
 *
 * A piece is taken when a job is placed, on the loop's thread, and written into the work order of each of its hosts; it
 * is free again when the job has ended. What jobs have that are placed already is read from their work orders at start,
 * so nothing else need be kept, and a kill at any moment neither leaks a piece nor deals it twice. Pieces in which an
 * interface of the machine has an address (another bloomeryd's jobs have) are left out. Where the search begins
 * depends on the job, so that two servers that search at the same time hardly meet; bloomery-job looks once more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"
#include "net/net.h"
#include "net/seal.h"

struct network_pool;
/* conf: a range, or "none". ERR_INVALID. */
int network_pool_new(const char *conf, struct network_pool **ret, struct err *e) must_check;
void network_pool_free(struct network_pool *p); /* NULL is fine */

enum network_taken {
	NETWORK_TAKEN,
	NETWORK_NONE,  /* the machine's: the pool is `none` */
	NETWORK_LATER, /* all taken now */
	NETWORK_SOON,  /* one is free, but for an interface of the machine, perhaps of a job that has just ended */
};
/* Addresses for the job's hosts and its gateway. The same job gets the same piece again until it is given back. */
enum network_taken network_take(struct network_pool *p, const char *job_id, unsigned hosts, struct net_range *ret);
void network_give(struct network_pool *p, const char *job_id); /* one that has none is fine */
/* Whether any job of so many hosts could ever get a piece; for checks before a job is taken on. */
bool network_could_fit(const struct network_pool *p, unsigned hosts);
/* At start: what the job has by its work order, if it has any. */
void network_known(struct network_pool *p, const char *job_id, const struct network_spec *n);

/* Encrypted between hosts: what host_number is to know, of keys made for all. */
struct network_key {
	unsigned char private_key[NET_KEY_BYTES], public_key[NET_KEY_BYTES];
};
void network_fill_keys(struct job_spec *s, const struct network_key *keys);

/* Makes the member `network` of a work order anew, for its host_number of host_count, called algo-1, algo-2 ... */
void network_fill(struct job_spec *s, const char *job_id, struct net_range range, bool isolated);
