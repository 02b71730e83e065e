/* SPDX-License-Identifier: Apache-2.0 */
#include "job/network.h"

#include <stdlib.h>

#include "base/log.h"
#include "store/store.h"

enum { PREFIX_LEAST = 16, PREFIX_MOST = 30 };

struct piece {
	char job_id[JOB_ID_BYTES];
	struct net_range range;
};

struct network_pool {
	bool none;
	bool said; /* that it is of no use */
	struct net_range range;
	struct piece *piece;
	size_t n;
};

int network_pool_new(const char *conf, struct network_pool **ret, struct err *e)
{
	struct network_pool p = { 0 };

	p.none = strcmp(conf, "none") == 0;
	if (!p.none && net_range_parse(str_of(conf), &p.range, e) < 0)
		return err_in(e, "network_pool");
	if (!p.none && p.range.prefix > PREFIX_MOST)
		return err_set(e, ERR_INVALID, "network_pool: '%s' is too small: a job needs a /%d at least", conf,
		               PREFIX_MOST);
	*ret = xcalloc(1, sizeof(p));
	**ret = p;
	return 0;
}

void network_pool_free(struct network_pool *p)
{
	if (!p)
		return;
	free(p->piece);
	free(p);
}

/* With the gateway, and the two addresses that mean the whole. */
static unsigned prefix_for(unsigned hosts)
{
	unsigned prefix = PREFIX_MOST;

	while ((1U << (32 - prefix)) < hosts + 3)
		prefix--;
	return prefix;
}

bool network_could_fit(const struct network_pool *p, unsigned hosts)
{
	unsigned prefix = prefix_for(hosts);

	return p->none || (prefix >= p->range.prefix && prefix >= PREFIX_LEAST);
}

static struct piece *find(struct network_pool *p, const char *job_id)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->piece[i].job_id, job_id) == 0)
			return &p->piece[i];
	return NULL;
}

static bool is_taken(const struct network_pool *p, struct net_range r)
{
	for (size_t i = 0; i < p->n; i++)
		if (net_range_overlap(p->piece[i].range, r))
			return true;
	return false;
}

static void add(struct network_pool *p, const char *job_id, struct net_range r)
{
	p->piece = xrealloc(p->piece, (p->n + 1) * sizeof(*p->piece));
	p->piece[p->n] = (struct piece){ .range = r };
	memcpy(p->piece[p->n].job_id, job_id, strnlen(job_id, JOB_ID_BYTES - 1));
	p->n++;
}

/* Ids are random, so their first digits are. */
static uint32_t start_of(const char *job_id)
{
	char digits[9] = { 0 };

	memcpy(digits, job_id, strnlen(job_id, 8));
	return (uint32_t)strtoul(digits, NULL, 16);
}

static bool is_used(const struct net_range *used, size_t n, struct net_range r)
{
	for (size_t i = 0; i < n; i++)
		if (net_range_overlap(used[i], r))
			return true;
	return false;
}

/* The whole pool in one range of the machine's: no piece of it will ever be free. */
static const struct net_range *covering(const struct network_pool *p, const struct net_range *used, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (used[i].prefix <= p->range.prefix && net_range_overlap(used[i], p->range))
			return &used[i];
	return NULL;
}

static void say_covered(const struct net_range *by)
{
	char text[NET_ADDRESS_BYTES];

	log_warn("jobs wait: all of network_pool (bloomery.conf) is in the network %s/%u, which an interface of this "
	         "machine has",
	         net_address_text(by->base, text), by->prefix);
}

enum network_taken network_take(struct network_pool *p, const char *job_id, unsigned hosts, struct net_range *ret)
{
	unsigned prefix = prefix_for(hosts);
	const struct piece *had = find(p, job_id);
	enum network_taken answer = NETWORK_LATER;
	_cleanup_free_ struct net_range *used = NULL;
	const struct net_range *all;
	uint32_t pieces, start;
	size_t n;

	if (p->none)
		return NETWORK_NONE;
	if (had) {
		*ret = had->range;
		return NETWORK_TAKEN;
	}
	if (!network_could_fit(p, hosts))
		return NETWORK_LATER;
	n = net_ranges_of_machine(&used);
	all = covering(p, used, n);
	if (all && !p->said)
		say_covered(all);
	p->said = all;
	if (all)
		return NETWORK_SOON;
	pieces = 1U << (prefix - p->range.prefix);
	start = start_of(job_id);
	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t at = (start + i) & (pieces - 1);
		struct net_range r = { p->range.base + (at << (32 - prefix)), prefix };

		if (is_taken(p, r))
			continue;
		if (is_used(used, n, r)) {
			answer = NETWORK_SOON;
			continue;
		}
		add(p, job_id, r);
		*ret = r;
		return NETWORK_TAKEN;
	}
	return answer;
}

void network_give(struct network_pool *p, const char *job_id)
{
	struct piece *had = find(p, job_id);

	if (had)
		*had = p->piece[--p->n];
}

void network_known(struct network_pool *p, const char *job_id, const struct network_spec *n)
{
	struct net_range r = { .prefix = n->prefix };

	if (!n->bridge || !net_address_parse(str_of(n->address), &r.base) || find(p, job_id))
		return;
	r.base &= net_mask(r.prefix);
	add(p, job_id, r);
}

static char *text(uint32_t address)
{
	char t[NET_ADDRESS_BYTES];

	return xstrdup(net_address_text(address, t));
}

void network_fill(struct job_spec *s, const char *job_id, struct net_range range, bool isolated)
{
	struct network_spec *n = &s->network;
	char bridge[NET_NAME_BYTES];

	network_spec_fini(n);
	net_bridge_name(job_id, bridge);
	n->bridge = xstrdup(bridge);
	n->gateway = text(range.base + 1);
	n->address = text(range.base + 1 + s->host_number);
	n->prefix = range.prefix;
	n->isolated = isolated;
	n->peers = xcalloc(s->host_count, sizeof(*n->peers));
	n->peer_count = s->host_count;
	for (unsigned i = 1; i <= s->host_count; i++) {
		n->peers[i - 1].name = strf("algo-%u", i);
		n->peers[i - 1].address = text(range.base + 1 + i);
	}
}

static char *hex(const unsigned char *key)
{
	struct buf b = { 0 };

	buf_hex(&b, key, NET_KEY_BYTES);
	return buf_take(&b);
}

void network_fill_keys(struct job_spec *s, const struct network_key *keys)
{
	struct network_spec *n = &s->network;

	n->private_key = hex(keys[s->host_number - 1].private_key);
	for (size_t i = 0; i < n->peer_count; i++)
		n->peers[i].public_key = hex(keys[i].public_key);
}
