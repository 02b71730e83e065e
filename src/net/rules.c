/* What may pass, in the words of nftables. SPDX-License-Identifier: Apache-2.0
 *
 * The rules never change; what changes is the set of what each port may send as. nft(8) loads the rules, once. The
 * set is changed at each start of a host, for which a program would take too long, so that is done here. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "loop/loop.h"
#include "net/inside.h"
#include "net/limits.h"

#define TABLE "bloomery"
#define SET "hosts"

/* What is refused is told to who listens (refused.c), each interface's so often. */
#define TELL "update @told { iifname limit rate 6/minute burst 5 packets } log group " NET_LOG_GROUP_TEXT " prefix "
#define OFTEN "{ type ifname ; flags dynamic ; timeout 1m ; size 65535 ; }\n"
#define CHAIN(family, name)                         \
	"add chain " family " " TABLE " " name "\n" \
	"flush chain " family " " TABLE " " name "\n"
#define HOOK(family, name, hook)                                                   \
	"add chain " family " " TABLE " " name " { " hook " ; policy accept ; }\n" \
	"flush chain " family " " TABLE " " name "\n"
#define RULE(family, chain, rule) "add rule " family " " TABLE " " chain " " rule "\n"

/* Two chains of the bridge run before the kernel's own look at bridged packets through `inet` (br_netfilter), which
 * not every machine has on: the mark says there that both ends are ports of one bridge. The second mark, set where it
 * is known where a packet comes from, says that it is to get the machine's address. Marks do not survive the way into
 * or out of a namespace, so a container cannot bring its own.
 *
 * In `inet` a job's packets come in by its bridge, blm*, or by the interface of the one host it has, blv*. Jobs with
 * limits have an entry in the maps, which leads to a chain of their own. */
/* clang-format off */
static const char *const rules[] = {
	"add table bridge " TABLE "\n"
	"add set bridge " TABLE " " SET " { type ifname . ether_addr . ipv4_addr ; }\n"
	"add set bridge " TABLE " sealed { type ifname . ether_addr . ipv4_addr ; }\n"
	"add set bridge " TABLE " told " OFTEN
	HOOK("bridge", "prerouting", "type filter hook prerouting priority -350")
	HOOK("bridge", "forward", "type filter hook forward priority -350")
	RULE("bridge", "prerouting", "iifname != \"blv*\" accept")
	RULE("bridge", "prerouting", "ether type ip iifname . ether saddr . ip saddr @" SET " accept")
	RULE("bridge", "prerouting", "ether type arp iifname . ether saddr . arp saddr ip @" SET
	                             " iifname . arp saddr ether . arp saddr ip @" SET " accept"),
	RULE("bridge", "prerouting", "ether type { ip, arp } " TELL "\"" NET_REFUSED_SENDER "\""),
	RULE("bridge", "prerouting", "counter drop")
	RULE("bridge", "forward", "ether type ip iifname . ether saddr . ip saddr @sealed udp dport != 51820 counter drop")
	RULE("bridge", "forward", "ether type ip iifname . ether saddr . ip saddr @sealed ip protocol != udp counter drop")
	/* Later fragments have no port to look at, and WireGuard makes none. */
	RULE("bridge", "forward", "ether type ip iifname . ether saddr . ip saddr @sealed ip frag-off & 0x3fff != 0 counter drop")
	RULE("bridge", "forward", "iifname \"blv*\" oifname \"blv*\" meta mark set 0x626c6d01")

	"add table inet " TABLE "\n"
	"add set inet " TABLE " " SET " { type ifname . ether_addr . ipv4_addr ; }\n"
	"add set inet " TABLE " told " OFTEN
	"add map inet " TABLE " outward { type ifname : verdict ; }\n"
	"add map inet " TABLE " inward { type ifname : verdict ; }\n"
	HOOK("inet", "prerouting", "type filter hook prerouting priority -350")
	HOOK("inet", "input", "type filter hook input priority -10")
	HOOK("inet", "forward", "type filter hook forward priority -10")
	HOOK("inet", "postrouting", "type nat hook postrouting priority 100")
	CHAIN("inet", "other_job") CHAIN("inet", "refused") CHAIN("inet", "nat")
	CHAIN("inet", "to_machine") CHAIN("inet", "from_job") CHAIN("inet", "to_job")

	RULE("inet", "prerouting", "iifname != \"blv*\" accept")
	RULE("inet", "prerouting", "iifname . ether saddr . ip saddr @" SET " accept"),
	RULE("inet", "prerouting", "meta nfproto ipv4 " TELL "\"" NET_REFUSED_SENDER "\""),
	RULE("inet", "prerouting", "counter drop")

	RULE("inet", "input", "iifname \"blm*\" goto to_machine")
	RULE("inet", "input", "iifname \"blv*\" goto to_machine")
	RULE("inet", "to_machine", "ct state established,related accept"),
	RULE("inet", "to_machine", TELL "\"" NET_REFUSED_MACHINE "\""),
	RULE("inet", "to_machine", "counter drop")

	RULE("inet", "forward", "iifname \"blm*\" oifname \"blm*\" meta mark 0x626c6d01 accept")
	RULE("inet", "forward", "iifname \"blm*\" goto from_job")
	RULE("inet", "forward", "iifname \"blv*\" goto from_job")
	RULE("inet", "forward", "oifname \"blm*\" goto to_job")
	RULE("inet", "forward", "oifname \"blv*\" goto to_job")

	RULE("inet", "from_job", "oifname \"blm*\" goto other_job")
	RULE("inet", "from_job", "oifname \"blv*\" goto other_job")
	RULE("inet", "from_job", "ct state established,related accept")
	RULE("inet", "from_job", "iifname vmap @outward")
	RULE("inet", "from_job", "goto nat")
	RULE("inet", "nat", "meta mark set 0x626c6d02 accept")
	RULE("inet", "to_job", "ct state established,related accept")
	RULE("inet", "to_job", "oifname vmap @inward")
	RULE("inet", "to_job", "counter drop"),

	RULE("inet", "other_job", TELL "\"" NET_REFUSED_JOB "\""),
	RULE("inet", "other_job", "counter drop"),
	RULE("inet", "refused", TELL "\"" NET_REFUSED_LIMITS "\""),
	RULE("inet", "refused", "counter drop")
	RULE("inet", "postrouting", "meta mark 0x626c6d02 oifname != \"blm*\" oifname != \"blv*\" masquerade")
};
/* clang-format on */

/* Every other piece tells; a kernel that cannot does without. */
static void put_rules(struct buf *out, bool telling)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if (telling || str_find(str_of(rules[i]), STR(" log group ")) < 0)
			buf_z(out, rules[i]);
}

static const char *find_nft(void)
{
	static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* One transaction: all of it, or nothing. */
static int run_nft(struct str script, struct err *e)
{
	const char *const argv[] = { find_nft(), "-f", "-", NULL };
	_cleanup_close_ int reader = -EBADF, writer = -EBADF;
	_cleanup_buf_ struct buf said = { 0 };
	struct spawn_options o = { .argv = argv, .out = -1, .err_fd = -1, .die_with_parent = true };
	int ends[2], status;

	if (!argv[0])
		return err_set(e, ERR_IO, "there is no nft here (install nftables)");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	o.in = reader = ends[0];
	writer = ends[1];
	/* A pipe takes far more than this without anybody reading. */
	if (fd_write_all(writer, script.p, script.n, e) < 0)
		return -1;
	cleanup_closep(&writer);
	writer = -EBADF;
	if (spawn_wait(&o, &said, 400, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(e, ERR_IO, "%s does not take the rules: " PRIstr, argv[0], ARGstr(str_trim(buf_view(&said))));
}

int rules_nest(const char *range, struct err *e)
{
	_cleanup_free_ char *script = strf("add table ip " TABLE
	                                   "\n" HOOK("ip", "postrouting", "type nat hook postrouting priority 100")
	                                           RULE("ip", "postrouting", "ip saddr %s oifname \"eth0\" masquerade"),
	                                   range);

	return run_nft(str_of(script), e);
}

int rules_load(struct err *e)
{
	_cleanup_buf_ struct buf telling = { 0 }, silent = { 0 };
	struct err why = { 0 };

	put_rules(&telling, true);
	if (run_nft(buf_view(&telling), &why) == 0)
		return 0;
	put_rules(&silent, false);
	if (run_nft(buf_view(&silent), e) < 0)
		return -1;
	log_err(LOG_WARN, &why, "what jobs are refused of the network will not be in the log");
	return 0;
}

int rules_limit(const char *interface, const struct net_limits *l, struct err *e)
{
	_cleanup_buf_ struct buf script = { 0 };

	net_limits_write(l, interface, &script);
	return run_nft(buf_view(&script), e);
}

int rules_unlimit(const char *interface, struct err *e)
{
	_cleanup_buf_ struct buf script = { 0 };

	net_limits_unwrite(interface, &script);
	return run_nft(buf_view(&script), e);
}

/* ---- the set ---- */

static const struct {
	unsigned char family;
	const char *name;
} sets[] = {
	[RULES_PORT] = { NFPROTO_BRIDGE, SET },
	[RULES_ALONE] = { NFPROTO_INET, SET },
	[RULES_SEALED] = { NFPROTO_BRIDGE, "sealed" },
};

/* As nftables joins the three: each filled up to a multiple of four bytes. */
struct key {
	char port[NET_NAME_BYTES];
	unsigned char mac[8];
	uint32_t address;
};

static struct key key_of(const char *port, uint32_t address)
{
	struct key k = { .address = htonl(address) };

	memcpy(k.port, port, strnlen(port, sizeof(k.port) - 1));
	link_mac(address, k.mac);
	return k;
}

static struct nlmsghdr *put_head(struct mnl_nlmsg_batch *b, uint16_t type, uint16_t flags, uint32_t seq,
                                 unsigned char family, uint16_t res_id)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(b));
	struct nfgenmsg *g;

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	m->nlmsg_seq = seq;
	g = mnl_nlmsg_put_extra_header(m, sizeof(*g));
	*g = (struct nfgenmsg){ .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id) };
	return m;
}

static void put_key(struct nlmsghdr *m, enum rules_set set, const struct key *k)
{
	struct nlattr *list, *element, *key;

	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, TABLE);
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, sets[set].name);
	list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
	key = mnl_attr_nest_start(m, NFTA_SET_ELEM_KEY);
	mnl_attr_put(m, NFTA_DATA_VALUE, sizeof(*k), k);
	mnl_attr_nest_end(m, key);
	mnl_attr_nest_end(m, element);
	mnl_attr_nest_end(m, list);
}

/* A transaction of one command. */
static int change(uint16_t command, uint16_t flags, enum rules_set set, const char *port, uint32_t address)
{
	const uint16_t type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | command);
	const struct key k = key_of(port, address);
	struct mnl_nlmsg_batch *b;
	struct nl nl = { 0 };
	struct err e = { 0 };
	int why;

	if (nl_open(&nl, NETLINK_NETFILTER, &e) < 0)
		return e.os ? e.os : EIO;
	b = mnl_nlmsg_batch_start(nl.bytes, sizeof(nl.bytes) / 2);
	must(b);
	put_head(b, NFNL_MSG_BATCH_BEGIN, 0, 1, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(b);
	put_key(put_head(b, type, flags | NLM_F_ACK, 2, sets[set].family, 0), set, &k);
	mnl_nlmsg_batch_next(b);
	put_head(b, NFNL_MSG_BATCH_END, 0, 3, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	mnl_nlmsg_batch_next(b);
	nl.seq = 2;
	why = nl_send(&nl, mnl_nlmsg_batch_head(b), mnl_nlmsg_batch_size(b));
	mnl_nlmsg_batch_stop(b);
	nl_close(&nl);
	return why;
}

int rules_allow(const char *port, uint32_t address, enum rules_set set)
{
	return change(NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, port, address);
}

int rules_forget(const char *port, uint32_t address, enum rules_set set)
{
	int why = change(NFT_MSG_DELSETELEM, 0, set, port, address);

	return why == ENOENT ? 0 : why;
}

/* ---- looking ---- */

struct look {
	void (*fn)(const char *port, uint32_t address, enum rules_set set, void *arg);
	enum rules_set set;
	void *arg;
};

/* The bytes of the attribute of one type among those nested in a; NULL without. */
static const struct nlattr *nested(const struct nlattr *a, uint16_t type)
{
	const struct nlattr *n;

	mnl_attr_for_each_nested(n, a)
	{
		if (mnl_attr_get_type(n) == type)
			return n;
	}
	return NULL;
}

static void look_at(const struct nlattr *element, const struct look *l)
{
	const struct nlattr *key = nested(element, NFTA_SET_ELEM_KEY);
	const struct nlattr *value = key ? nested(key, NFTA_DATA_VALUE) : NULL;
	struct key k;

	if (!value || mnl_attr_get_payload_len(value) != sizeof(k))
		return;
	memcpy(&k, mnl_attr_get_payload(value), sizeof(k));
	k.port[sizeof(k.port) - 1] = 0;
	l->fn(k.port, ntohl(k.address), l->set, l->arg);
}

static int on_elements(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a, *element;

	mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		mnl_attr_for_each_nested(element, a)
		{
			look_at(element, arg);
		}
	}
	return MNL_CB_OK;
}

static int each_of(const struct look *l)
{
	struct nl nl = { 0 };
	struct nlmsghdr *m;
	struct nfgenmsg *g;
	struct err e = { 0 };
	int why;

	if (nl_open(&nl, NETLINK_NETFILTER, &e) < 0)
		return 0; /* no nftables, no addresses */
	m = nl_begin(&nl, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, NLM_F_DUMP);
	g = mnl_nlmsg_put_extra_header(m, sizeof(*g));
	*g = (struct nfgenmsg){ .nfgen_family = sets[l->set].family, .version = NFNETLINK_V0 };
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, TABLE);
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, sets[l->set].name);
	why = nl_talk(&nl, m, on_elements, (void *)l);
	nl_close(&nl);
	return why == ENOENT || why == EINVAL || why == EOPNOTSUPP ? 0 : why;
}

int rules_each(void (*fn)(const char *port, uint32_t address, enum rules_set set, void *arg), void *arg)
{
	int why = 0;

	for (enum rules_set set = 0; !why && set < RULES_SETS; set++)
		why = each_of(&(struct look){ .fn = fn, .arg = arg, .set = set });
	return why;
}

/* ---- chains ---- */

struct look_at_chains {
	void (*fn)(const char *interface, void *arg);
	void *arg;
};

static int on_chain(const struct nlmsghdr *m, void *arg)
{
	const struct look_at_chains *l = arg;
	const char *table = "", *name = "";
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_CHAIN_TABLE && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			table = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == NFTA_CHAIN_NAME && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			name = mnl_attr_get_str(a);
	}
	if (strcmp(table, TABLE) == 0 && strncmp(name, "out-bl", 6) == 0)
		l->fn(name + 4, l->arg);
	return MNL_CB_OK;
}

int rules_each_limited(void (*fn)(const char *interface, void *arg), void *arg)
{
	struct look_at_chains l = { fn, arg };
	struct nl nl = { 0 };
	struct nlmsghdr *m;
	struct nfgenmsg *g;
	struct err e = { 0 };
	int why;

	if (nl_open(&nl, NETLINK_NETFILTER, &e) < 0)
		return 0;
	m = nl_begin(&nl, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP);
	g = mnl_nlmsg_put_extra_header(m, sizeof(*g));
	*g = (struct nfgenmsg){ .nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0 };
	why = nl_talk(&nl, m, on_chain, &l);
	nl_close(&nl);
	return why == ENOENT || why == EINVAL || why == EOPNOTSUPP ? 0 : why;
}
