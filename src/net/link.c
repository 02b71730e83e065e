/* Interfaces, their addresses and routes, in the words of rtnetlink. SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "net/inside.h"

void link_mac(uint32_t address, unsigned char out[6])
{
	const unsigned char mac[6] = { 0x02,
		                       0x42,
		                       (unsigned char)(address >> 24),
		                       (unsigned char)(address >> 16),
		                       (unsigned char)(address >> 8),
		                       (unsigned char)address };

	memcpy(out, mac, sizeof(mac));
}

static void put_mac(struct nlmsghdr *m, uint32_t address)
{
	unsigned char mac[6];

	link_mac(address, mac);
	mnl_attr_put(m, IFLA_ADDRESS, sizeof(mac), mac);
}

static struct nlmsghdr *begin_link(struct nl *nl, uint16_t type, uint16_t flags, unsigned index, unsigned up)
{
	struct nlmsghdr *m = nl_begin(nl, type, flags);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(m, sizeof(*i));

	i->ifi_family = AF_UNSPEC;
	i->ifi_index = (int)index;
	i->ifi_flags = i->ifi_change = up;
	return m;
}

int link_bridge(struct nl *nl, const char *name, uint32_t address_of_mac)
{
	struct nlmsghdr *m = begin_link(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
	struct nlattr *info, *data;

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	put_mac(m, address_of_mac);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "bridge");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	mnl_attr_put_u32(m, IFLA_BR_STP_STATE, 0);
	mnl_attr_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	return nl_talk(nl, m, NULL, NULL);
}

int link_veth(struct nl *nl, const char *name, unsigned master, int peer_ns_fd, uint32_t address_of_peers_mac)
{
	struct nlmsghdr *m = begin_link(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, 0);
	struct nlattr *info, *data, *peer;

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	if (master)
		mnl_attr_put_u32(m, IFLA_MASTER, master);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg)); /* zeroed, and as long as attributes are aligned */
	mnl_attr_put_strz(m, IFLA_IFNAME, "eth0");
	put_mac(m, address_of_peers_mac);
	mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)peer_ns_fd);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	return nl_talk(nl, m, NULL, NULL);
}

/* A kernel without IPv6 does not know what it is not to make. */
static int no_ipv6_address(struct nl *nl, unsigned index)
{
	struct nlmsghdr *m = begin_link(nl, RTM_NEWLINK, 0, index, 0);
	struct nlattr *families = mnl_attr_nest_start(m, IFLA_AF_SPEC);
	struct nlattr *six = mnl_attr_nest_start(m, AF_INET6);
	int why;

	mnl_attr_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(m, six);
	mnl_attr_nest_end(m, families);
	why = nl_talk(nl, m, NULL, NULL);
	return why == EAFNOSUPPORT || why == EOPNOTSUPP ? 0 : why;
}

int link_up(struct nl *nl, unsigned index)
{
	int why = no_ipv6_address(nl, index);

	return why ? why : nl_talk(nl, begin_link(nl, RTM_NEWLINK, 0, index, IFF_UP), NULL, NULL);
}

int link_delete(struct nl *nl, const char *name)
{
	struct nlmsghdr *m = begin_link(nl, RTM_DELLINK, 0, 0, 0);

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	return nl_talk(nl, m, NULL, NULL);
}

int link_add_address(struct nl *nl, unsigned index, uint32_t address, unsigned prefix)
{
	struct nlmsghdr *m = nl_begin(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(m, sizeof(*a));

	*a = (struct ifaddrmsg){ .ifa_family = AF_INET, .ifa_prefixlen = (unsigned char)prefix, .ifa_index = index };
	mnl_attr_put_u32(m, IFA_LOCAL, htonl(address));
	mnl_attr_put_u32(m, IFA_ADDRESS, htonl(address));
	if (prefix < 31)
		mnl_attr_put_u32(m, IFA_BROADCAST, htonl(address | ~net_mask(prefix)));
	return nl_talk(nl, m, NULL, NULL);
}

int link_add_gateway(struct nl *nl, unsigned index, uint32_t gateway)
{
	struct nlmsghdr *m = nl_begin(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	struct rtmsg *r = mnl_nlmsg_put_extra_header(m, sizeof(*r));

	*r = (struct rtmsg){ .rtm_family = AF_INET,
		             .rtm_table = RT_TABLE_MAIN,
		             .rtm_protocol = RTPROT_STATIC,
		             .rtm_scope = RT_SCOPE_UNIVERSE,
		             .rtm_type = RTN_UNICAST };
	mnl_attr_put_u32(m, RTA_GATEWAY, htonl(gateway));
	mnl_attr_put_u32(m, RTA_OIF, index);
	return nl_talk(nl, m, NULL, NULL);
}

/* ---- looking ---- */

struct look {
	void (*link)(const char *name, unsigned index, unsigned master, void *arg);
	void (*address)(unsigned index, uint32_t address, unsigned prefix, void *arg);
	void *arg;
	uint32_t seq; /* of the dump */
};

static int on_link(const struct nlmsghdr *m, void *arg)
{
	struct look *l = arg;
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(m);
	const char *name = NULL;
	const struct nlattr *a;
	unsigned master = 0;

	mnl_attr_for_each(a, m, sizeof(*i))
	{
		if (mnl_attr_get_type(a) == IFLA_IFNAME && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			name = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == IFLA_MASTER && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
			master = mnl_attr_get_u32(a);
	}
	if (l->seq && l->seq != m->nlmsg_seq)
		l->link(NULL, 0, 0, l->arg);
	l->seq = m->nlmsg_seq;
	if (name)
		l->link(name, (unsigned)i->ifi_index, master, l->arg);
	return MNL_CB_OK;
}

int link_each(struct nl *nl, void (*fn)(const char *name, unsigned index, unsigned master, void *arg), void *arg)
{
	struct look l = { .link = fn, .arg = arg };

	return nl_talk(nl, begin_link(nl, RTM_GETLINK, NLM_F_DUMP, 0, 0), on_link, &l);
}

static int on_address(const struct nlmsghdr *m, void *arg)
{
	const struct look *l = arg;
	const struct ifaddrmsg *i = mnl_nlmsg_get_payload(m);
	const struct nlattr *a;
	uint32_t local = 0;
	bool has = false;

	mnl_attr_for_each(a, m, sizeof(*i))
	{
		if (mnl_attr_get_type(a) != IFA_LOCAL || mnl_attr_validate(a, MNL_TYPE_U32) < 0)
			continue;
		local = ntohl(mnl_attr_get_u32(a));
		has = true;
	}
	if (has && i->ifa_family == AF_INET)
		l->address(i->ifa_index, local, i->ifa_prefixlen, l->arg);
	return MNL_CB_OK;
}

int link_each_address(struct nl *nl, void (*fn)(unsigned index, uint32_t address, unsigned prefix, void *arg),
                      void *arg)
{
	struct look l = { .address = fn, .arg = arg };
	struct nlmsghdr *m = nl_begin(nl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(m, sizeof(*a));

	a->ifa_family = AF_INET;
	return nl_talk(nl, m, on_address, &l);
}
