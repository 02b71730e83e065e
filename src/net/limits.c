/* SPDX-License-Identifier: Apache-2.0 */
#include "net/limits.h"

#include <stdlib.h>

#define TABLE "inet bloomery"

/* ---- reading ---- */

static struct str next_word(struct str *rest)
{
	size_t n = 0;
	struct str word;

	while (rest->n && (*rest->p == ' ' || *rest->p == '\t'))
		rest->p++, rest->n--;
	while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
		n++;
	word = (struct str){ rest->p, n };
	rest->p += n;
	rest->n -= n;
	return word;
}

static int read_range(struct str word, struct net_range *ret, struct err *e)
{
	struct str rest = word, address = str_cut(&rest, '/');
	struct net_range r = { 0 };
	uint64_t prefix;

	if (!net_address_parse(address, &r.base) || !str_to_u64(rest, &prefix) || prefix > 32 ||
	    (r.base & ~net_mask((unsigned)prefix)))
		return err_set(e, ERR_INVALID, "'" PRIstr "' is not a range of IPv4 addresses like 10.20.0.0/16",
		               ARGstr(word));
	r.prefix = (unsigned)prefix;
	*ret = r;
	return 0;
}

/* As Linux has them, less what would mean something to nft. */
static bool is_interface(struct str word)
{
	if (!word.n || word.n >= NET_NAME_BYTES)
		return false;
	for (size_t i = 0; i < word.n; i++)
		if (!word.p[i] ||
		    !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", word.p[i]))
			return false;
	return true;
}

static int add_range(struct net_limits *l, struct str word, struct err *e)
{
	struct net_range r;

	if (read_range(word, &r, e) < 0)
		return -1;
	if (l->range_count == NET_RANGES_MAX)
		return err_set(e, ERR_INVALID, "more than %d ranges", NET_RANGES_MAX);
	l->range = xrealloc(l->range, (l->range_count + 1) * sizeof(*l->range));
	l->range[l->range_count++] = r;
	return 0;
}

int net_limits_subnet(struct net_limits *l, struct str text, struct err *e)
{
	struct str word = next_word(&text);
	bool nat = str_is(word, "nat");

	if (!nat && !str_is(word, "none"))
		return err_set(e, ERR_INVALID, "'" PRIstr "' is neither `none` nor `nat [INTERFACE] [RANGE ...]`",
		               ARGstr(word));
	l->no_way_out = !nat;
	for (bool first = true; (word = next_word(&text)).n; first = false) {
		if (!nat)
			return err_set(e, ERR_INVALID, "nothing follows `none`, not '" PRIstr "'", ARGstr(word));
		if (!first || str_has_byte(word, '/')) {
			if (add_range(l, word, e) < 0)
				return -1;
		} else if (is_interface(word)) {
			memcpy(l->interface, word.p, word.n);
			l->interface[word.n] = 0;
		} else {
			return err_set(e, ERR_INVALID, "'" PRIstr "' is neither an interface nor a range",
			               ARGstr(word));
		}
	}
	return 0;
}

static bool read_ports(struct str word, struct net_rule *r)
{
	struct str rest = word, first = str_cut(&rest, '-');
	bool two = str_has_byte(word, '-');
	uint64_t from, to;

	if (!str_to_u64(first, &from) || from > 65535)
		return false;
	to = from;
	if (two && (!str_to_u64(rest, &to) || to > 65535 || to < from))
		return false;
	r->first = (unsigned)from;
	r->last = (unsigned)to;
	return true;
}

static int read_rule(struct str text, struct net_rule *r, struct err *e)
{
	static const char *const protocols[] = { "tcp", "udp", "icmp" };
	struct str rest = text, way = next_word(&rest), protocol = next_word(&rest), word = next_word(&rest);
	bool known = str_is(protocol, "all");

	*r = (struct net_rule){ .inwards = str_is(way, "in"), .last = 65535 };
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
		if (str_is(protocol, protocols[i])) {
			r->protocol = protocols[i];
			known = true;
		}
	if (!known || (!r->inwards && !str_is(way, "out")))
		return err_set(e, ERR_INVALID,
		               "'" PRIstr "' is not a rule: out|in all|tcp|udp|icmp [PORT[-PORT]] [RANGE]",
		               ARGstr(text));
	if (word.n && !str_has_byte(word, '/')) {
		if (!r->protocol || !strcmp(r->protocol, "icmp") || !read_ports(word, r))
			return err_set(e, ERR_INVALID, "'" PRIstr "': '" PRIstr "' is no port of tcp or udp",
			               ARGstr(text), ARGstr(word));
		word = next_word(&rest);
	}
	if (word.n && read_range(word, &r->range, e) < 0)
		return -1;
	word = next_word(&rest);
	return word.n ? err_set(e, ERR_INVALID, "'" PRIstr "': '" PRIstr "' is too much", ARGstr(text), ARGstr(word))
	              : 0;
}

int net_limits_traffic(struct net_limits *l, struct str text, struct err *e)
{
	while (text.n) {
		struct str one = str_trim(str_cut(&text, ','));
		struct net_rule r;

		if (!one.n)
			continue;
		if (read_rule(one, &r, e) < 0)
			return -1;
		if (l->rule_count == NET_RULES_MAX)
			return err_set(e, ERR_INVALID, "more than %d rules", NET_RULES_MAX);
		l->rule = xrealloc(l->rule, (l->rule_count + 1) * sizeof(*l->rule));
		l->rule[l->rule_count++] = r;
	}
	return 0;
}

void net_limits_fini(struct net_limits *l)
{
	free(l->range);
	free(l->rule);
	*l = (struct net_limits){ 0 };
}

/* ---- writing ---- */

static void put_range(struct net_range r, struct buf *out)
{
	char text[NET_ADDRESS_BYTES];

	buf_f(out, "%s/%u", net_address_text(r.base, text), r.prefix);
}

static void put_subnet(const struct net_limits *l, const char *interface, struct buf *out)
{
	if (l->interface[0])
		buf_f(out, "add rule " TABLE " out-%s oifname != \"%s\" goto refused\n", interface, l->interface);
	if (!l->range_count)
		return;
	/* One by one through a set of the rule's own would refuse ranges that overlap. */
	buf_f(out, "add rule " TABLE " out-%s meta mark set 0\n", interface);
	for (size_t i = 0; i < l->range_count; i++) {
		buf_f(out, "add rule " TABLE " out-%s ip daddr ", interface);
		put_range(l->range[i], out);
		buf_z(out, " meta mark set 0x626c6d03\n");
	}
	buf_f(out, "add rule " TABLE " out-%s meta mark != 0x626c6d03 goto refused\n", interface);
}

static void put_rule(const struct net_rule *r, const char *interface, struct buf *out)
{
	buf_f(out, "add rule " TABLE " %s-%s meta nfproto ipv4", r->inwards ? "in" : "out", interface);
	if (r->range.prefix) {
		buf_f(out, " ip %s ", r->inwards ? "saddr" : "daddr");
		put_range(r->range, out);
	}
	if (r->protocol)
		buf_f(out, " meta l4proto %s", r->protocol);
	if (r->protocol && (r->first || r->last != 65535))
		buf_f(out, " %s dport %u-%u", r->protocol, r->first, r->last);
	buf_z(out, r->inwards ? " accept\n" : " goto nat\n");
}

static void put_frame(const char *interface, struct buf *out)
{
	static const char *const ways[][2] = { { "out", "outward" }, { "in", "inward" } };

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		buf_f(out, "add chain " TABLE " %s-%s\n", ways[i][0], interface);
		buf_f(out, "flush chain " TABLE " %s-%s\n", ways[i][0], interface);
		buf_f(out, "add element " TABLE " %s { \"%s\" : goto %s-%s }\n", ways[i][1], interface, ways[i][0],
		      interface);
	}
}

void net_limits_write(const struct net_limits *l, const char *interface, struct buf *out)
{
	put_frame(interface, out);
	if (!l->no_way_out)
		put_subnet(l, interface, out);
	for (size_t i = 0; i < l->rule_count; i++)
		if (l->rule[i].inwards || !l->no_way_out)
			put_rule(&l->rule[i], interface, out);
	buf_f(out, "add rule " TABLE " out-%s goto refused\n", interface);
	buf_f(out, "add rule " TABLE " in-%s counter drop\n", interface);
}

/* Nothing can be deleted that is not there, so it is made first. */
void net_limits_unwrite(const char *interface, struct buf *out)
{
	put_frame(interface, out);
	buf_f(out, "delete element " TABLE " outward { \"%s\" }\n", interface);
	buf_f(out, "delete element " TABLE " inward { \"%s\" }\n", interface);
	buf_f(out, "delete chain " TABLE " out-%s\n", interface);
	buf_f(out, "delete chain " TABLE " in-%s\n", interface);
}
