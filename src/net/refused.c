/* SPDX-License-Identifier: Apache-2.0 */
#include "net/refused.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/inside.h"

enum { HEAD_BYTES = 96, AGAIN_MS = 30000, MESSAGES_A_WAKE = 64, MESSAGE_BYTES = 16384 };

struct net_ear {
	struct loop *loop;
	void (*fn)(void *arg, const struct net_refused *r);
	void *arg;
	struct nl nl;
	struct loop_source *source, *again;
};

/* ---- a packet in words ---- */

static uint32_t number(struct str s, size_t at, size_t bytes)
{
	uint32_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n = n << 8 | (unsigned char)s.p[at + i];
	return n;
}

static void put_ipv4(struct str b, struct buf *out)
{
	char from[NET_ADDRESS_BYTES], to[NET_ADDRESS_BYTES];
	size_t head = (size_t)(b.p[0] & 15) * 4;
	unsigned protocol = (unsigned char)b.p[9];
	const char *name = protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : NULL;
	bool first = (number(b, 6, 2) & 0x1fff) == 0; /* only the first fragment has ports */

	net_address_text(number(b, 12, 4), from);
	net_address_text(number(b, 16, 4), to);
	if (name && first && b.n >= head + 4)
		buf_f(out, "%s %s:%u to %s:%u", name, from, number(b, head, 2), to, number(b, head + 2, 2));
	else if (name || protocol == IPPROTO_ICMP)
		buf_f(out, "%s %s to %s", name ? name : "icmp", from, to);
	else
		buf_f(out, "protocol %u %s to %s", protocol, from, to);
}

void net_packet_text(uint16_t ethertype, struct str b, struct buf *out)
{
	char a[NET_ADDRESS_BYTES], to[NET_ADDRESS_BYTES];

	if (ethertype == ETH_P_IP && b.n >= 20)
		put_ipv4(b, out);
	else if (ethertype == ETH_P_ARP && b.n >= 28)
		buf_f(out, "arp of %s for %s", net_address_text(number(b, 14, 4), a),
		      net_address_text(number(b, 24, 4), to));
	else
		buf_f(out, "a packet of type 0x%04x", ethertype);
}

/* ---- the kernel's messages ---- */

/* Of a bridge the port is what is to be known. */
static unsigned interface_of(const struct nlattr *const *a)
{
	const struct nlattr *i = a[NFULA_IFINDEX_PHYSINDEV] ? a[NFULA_IFINDEX_PHYSINDEV] : a[NFULA_IFINDEX_INDEV];

	return i && mnl_attr_validate(i, MNL_TYPE_U32) >= 0 ? ntohl(mnl_attr_get_u32(i)) : 0;
}

static int on_packet(const struct nlmsghdr *m, void *arg)
{
	const struct net_ear *ear = arg;
	const struct nlattr *a[NFULA_MAX + 1] = { 0 }, *one;
	struct nfulnl_msg_packet_hdr head = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	struct net_refused r = { .what = STR("?") };
	struct str bytes = { "", 0 };

	if (m->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET))
		return MNL_CB_OK;
	mnl_attr_for_each(one, m, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(one) <= NFULA_MAX)
			a[mnl_attr_get_type(one)] = one;
	}
	if (!if_indextoname(interface_of(a), r.interface))
		return MNL_CB_OK; /* it has gone meanwhile */
	if (a[NFULA_PREFIX] && mnl_attr_validate(a[NFULA_PREFIX], MNL_TYPE_NUL_STRING) >= 0)
		r.what = str_of(mnl_attr_get_str(a[NFULA_PREFIX]));
	if (a[NFULA_PACKET_HDR] && mnl_attr_get_payload_len(a[NFULA_PACKET_HDR]) >= sizeof(head))
		memcpy(&head, mnl_attr_get_payload(a[NFULA_PACKET_HDR]), sizeof(head));
	if (a[NFULA_PAYLOAD])
		bytes = (struct str){ mnl_attr_get_payload(a[NFULA_PAYLOAD]),
			              mnl_attr_get_payload_len(a[NFULA_PAYLOAD]) };
	net_packet_text(ntohs(head.hw_protocol), bytes, &text);
	r.packet = buf_view(&text);
	ear->fn(ear->arg, &r);
	return MNL_CB_OK;
}

static void on_socket(void *arg, uint32_t events)
{
	struct net_ear *ear = arg;
	int fd = mnl_socket_get_fd(ear->nl.socket);
	char bytes[MESSAGE_BYTES];

	(void)events;
	for (int i = 0; i < MESSAGES_A_WAKE; i++) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n < 0 && errno == ENOBUFS) /* some were lost */
			continue;
		if (n <= 0)
			return;
		(void)mnl_cb_run(bytes, (size_t)n, 0, 0, on_packet, ear);
	}
}

/* ---- asking for them ---- */

static struct nlmsghdr *begin(struct nl *nl)
{
	struct nlmsghdr *m = nl_begin(nl, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, 0);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(m, sizeof(*g));

	*g = (struct nfgenmsg){ .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NET_LOG_GROUP) };
	return m;
}

static int bind_group(struct nl *nl)
{
	const struct nfulnl_msg_config_cmd cmd = { .command = NFULNL_CFG_CMD_BIND };
	const struct nfulnl_msg_config_mode mode = { .copy_range = htonl(HEAD_BYTES), .copy_mode = NFULNL_COPY_PACKET };
	struct nlmsghdr *m = begin(nl);
	int why;

	mnl_attr_put(m, NFULA_CFG_CMD, sizeof(cmd), &cmd);
	why = nl_talk(nl, m, NULL, NULL);
	if (why)
		return why;
	m = begin(nl);
	mnl_attr_put(m, NFULA_CFG_MODE, sizeof(mode), &mode);
	mnl_attr_put_u32(m, NFULA_CFG_QTHRESH, htonl(1)); /* told at once */
	return nl_talk(nl, m, NULL, NULL);
}

static int listen_now(struct net_ear *ear, struct err *e)
{
	int why;

	if (nl_open(&ear->nl, NETLINK_NETFILTER, e) < 0)
		return -1;
	why = bind_group(&ear->nl);
	if (!why)
		ear->source = loop_fd(ear->loop, mnl_socket_get_fd(ear->nl.socket), EPOLLIN, on_socket, ear);
	if (ear->source)
		return 0;
	nl_close(&ear->nl);
	errno = why ? why : errno;
	return err_sys(e, "asking the kernel to tell what it refuses");
}

static void on_again(void *arg)
{
	struct net_ear *ear = arg;
	struct err e = { 0 };

	if (listen_now(ear, &e) < 0)
		loop_timer_set(ear->again, AGAIN_MS, 0);
}

struct net_ear *net_ear_new(struct loop *l, void (*fn)(void *arg, const struct net_refused *r), void *arg,
                            struct err *e)
{
	struct net_ear *ear = xcalloc(1, sizeof(*ear));
	struct err why = { 0 };

	*ear = (struct net_ear){ .loop = l, .fn = fn, .arg = arg };
	if (listen_now(ear, &why) == 0)
		return ear;
	if (why.os != EBUSY) {
		free(ear);
		if (e)
			*e = why;
		return NULL;
	}
	log_info("another server hears of what jobs of this machine are refused of networks, and logs it");
	ear->again = loop_timer(l, AGAIN_MS, 0, on_again, ear);
	return ear;
}

void net_ear_free(struct net_ear *ear)
{
	if (!ear)
		return;
	loop_source_free(ear->source);
	loop_source_free(ear->again);
	nl_close(&ear->nl);
	free(ear);
}
