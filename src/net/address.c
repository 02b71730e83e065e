/* IPv4 addresses as text and as numbers. SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/net.h"

bool net_address_parse(struct str s, uint32_t *ret)
{
	char text[NET_ADDRESS_BYTES];
	struct in_addr a;

	if (s.n >= sizeof(text) || str_has_byte(s, 0))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	if (inet_pton(AF_INET, text, &a) != 1)
		return false;
	*ret = ntohl(a.s_addr);
	return true;
}

char *net_address_text(uint32_t address, char out[NET_ADDRESS_BYTES])
{
	snprintf(out, NET_ADDRESS_BYTES, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
	         address & 255);
	return out;
}

uint32_t net_mask(unsigned prefix)
{
	return prefix ? UINT32_MAX << (32 - prefix) : 0;
}

bool net_range_overlap(struct net_range a, struct net_range b)
{
	uint32_t mask = net_mask(a.prefix < b.prefix ? a.prefix : b.prefix);

	return (a.base & mask) == (b.base & mask);
}

bool net_range_private(struct net_range r)
{
	static const struct net_range all[] = {
		{ 0x0a000000, 8 }, { 0xac100000, 12 }, { 0xc0a80000, 16 }, { 0x64400000, 10 }
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (r.prefix >= all[i].prefix && net_range_overlap(r, all[i]))
			return true;
	return false;
}

int net_range_parse(struct str s, struct net_range *ret, struct err *e)
{
	struct str rest = s, address = str_cut(&rest, '/');
	struct net_range r = { 0 };
	uint64_t prefix;

	if (!net_address_parse(address, &r.base) || !str_to_u64(rest, &prefix) || prefix > 32)
		return err_set(e, ERR_INVALID, "'" PRIstr "' is not a range of IPv4 addresses like 10.213.0.0/16",
		               ARGstr(s));
	r.prefix = (unsigned)prefix;
	if (r.base & ~net_mask(r.prefix))
		return err_set(e, ERR_INVALID, "'" PRIstr "': the address has bits beyond the first %u", ARGstr(s),
		               r.prefix);
	if (!net_range_private(r))
		return err_set(e, ERR_INVALID,
		               "'" PRIstr "' is not in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
		               ARGstr(s));
	*ret = r;
	return 0;
}

static bool is_name(struct str s, const char *start, size_t digits)
{
	if (s.n != 3 + digits || !str_skip(&s, str_of(start)))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr("0123456789abcdef", s.p[i]))
			return false;
	return true;
}

bool net_bridge_name_ok(struct str s)
{
	return is_name(s, "blm", 8);
}

void net_bridge_name(const char *job_id, char out[NET_NAME_BYTES])
{
	snprintf(out, NET_NAME_BYTES, "blm%.8s", job_id);
}

void net_port_name(const char *host_id, char out[NET_NAME_BYTES])
{
	snprintf(out, NET_NAME_BYTES, "blv%.12s", host_id);
}

/* ---- the machine's ---- */

static uint32_t ipv4_of(const struct sockaddr *sa)
{
	struct sockaddr_in in;

	memcpy(&in, sa, sizeof(in));
	return ntohl(in.sin_addr.s_addr);
}

static unsigned prefix_of(const struct sockaddr *mask)
{
	return mask ? (unsigned)__builtin_popcount(ipv4_of(mask)) : 32;
}

bool net_address_is_ours(uint32_t address)
{
	struct ifaddrs *all;
	bool found = address >> 24 == 127;

	if (getifaddrs(&all) < 0)
		return true;
	for (const struct ifaddrs *a = all; a && !found; a = a->ifa_next)
		found = a->ifa_addr && a->ifa_addr->sa_family == AF_INET && ipv4_of(a->ifa_addr) == address;
	freeifaddrs(all);
	return found;
}

size_t net_ranges_of_machine(struct net_range **ret)
{
	struct net_range *range = NULL;
	struct ifaddrs *all;
	size_t n = 0;

	*ret = NULL;
	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET)
			continue;
		range = xrealloc(range, (n + 1) * sizeof(*range));
		range[n++] = (struct net_range){ ipv4_of(a->ifa_addr), prefix_of(a->ifa_netmask) };
	}
	freeifaddrs(all);
	*ret = range;
	return n;
}
