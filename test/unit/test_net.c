/* Networks between real namespaces; as root, where nftables, bridges and veth pairs work. SPDX-License-Identifier:
 * Apache-2.0
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "harness.h"
#include "net/inside.h"
#include "net/net.h"
#include "net/refused.h"

/* Open until the end of the test, and not named again. */
#define used __attribute__((unused))

TEST(addresses)
{
	char text[NET_ADDRESS_BYTES];
	uint32_t a = 0;

	CHECK(net_address_parse(STR("10.213.0.7"), &a) && a == 0x0ad50007);
	CHECK_STR(net_address_text(0xfffefdfc, text), "255.254.253.252");
	CHECK(!net_address_parse(STR("10.213.0"), &a) && !net_address_parse(STR("10.213.0.256"), &a));
	CHECK(!net_address_parse(STR(""), &a) && !net_address_parse(STR("10.213.0.1 "), &a));
	CHECK(!net_address_parse(STR("10.0.0.1\0"), &a) && !net_address_parse(STR("::1"), &a));
}

TEST(ranges)
{
	struct net_range r = { 0 };
	static const char *const bad[] = {
		"10.213.0.0",     "10.213.0.0/", "10.213.0.1/16", "10.213.0.0/33", "8.8.8.0/24",
		"169.254.0.0/16", "127.0.0.0/8", "0.0.0.0/0",     "10.0.0.0/7",    "x/8"
	};

	CHECK_OK(net_range_parse(STR("10.213.0.0/16"), &r, e));
	CHECK(r.base == 0x0ad50000 && r.prefix == 16);
	CHECK_OK(net_range_parse(STR("100.64.0.0/10"), &r, e));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(net_range_parse(str_of(bad[i]), &r, NULL) < 0);
	CHECK(net_range_overlap((struct net_range){ 0x0a000000, 8 }, (struct net_range){ 0x0ad50000, 30 }));
	CHECK(!net_range_overlap((struct net_range){ 0x0ad50000, 30 }, (struct net_range){ 0x0ad50004, 30 }));
}

TEST(names)
{
	char name[NET_NAME_BYTES];

	net_bridge_name("0123456789abcdef", name);
	CHECK_STR(name, "blm01234567");
	CHECK(net_bridge_name_ok(str_of(name)));
	CHECK(!net_bridge_name_ok(STR("blm0123456")) && !net_bridge_name_ok(STR("eth01234567")) &&
	      !net_bridge_name_ok(STR("blm0123456G")) && !net_bridge_name_ok(STR("blm0123456\0")));
	net_port_name("0123456789abcdef", name);
	CHECK_STR(name, "blv0123456789ab");
}

static void check_words(uint16_t type, const char *bytes, size_t n, const char *want)
{
	_cleanup_buf_ struct buf b = { 0 };

	net_packet_text(type, (struct str){ bytes, n }, &b);
	CHECK_STR(b.p, want);
}

TEST(packets_in_words)
{
	static const char tcp[] = "\x45\0\0\x28\0\0\0\0\x40\x06\0\0\x0a\xd5\0\x02\xc0\0\x02\x01\x04\xd2\0\x50";
	static const char arp[] = "\0\1\x08\0\6\4\0\2\2\x42\0\0\0\0\x0a\xd5\0\1\0\0\0\0\0\0\x0a\xd5\0\2";
	char other[sizeof(tcp)];

	check_words(ETHERTYPE_IP, tcp, 24, "tcp 10.213.0.2:1234 to 192.0.2.1:80");
	check_words(ETHERTYPE_IP, tcp, 23, "tcp 10.213.0.2 to 192.0.2.1"); /* cut short */
	check_words(ETHERTYPE_IP, tcp, 19, "a packet of type 0x0800");
	check_words(ETHERTYPE_IP, "", 0, "a packet of type 0x0800");
	check_words(ETHERTYPE_ARP, arp, 28, "arp of 10.213.0.1 for 10.213.0.2");
	check_words(ETHERTYPE_ARP, arp, 27, "a packet of type 0x0806");
	memcpy(other, tcp, sizeof(tcp));
	other[7] = 1; /* a later fragment */
	check_words(ETHERTYPE_IP, other, 24, "tcp 10.213.0.2 to 192.0.2.1");
	other[0] = 0x4f; /* says that its head is longer than all there is */
	other[7] = 0;
	check_words(ETHERTYPE_IP, other, 24, "tcp 10.213.0.2 to 192.0.2.1");
	other[9] = 47;
	check_words(ETHERTYPE_IP, other, 24, "protocol 47 10.213.0.2 to 192.0.2.1");
}

/* ---- with the kernel ---- */

/* A network namespace of the test's own is "the machine", so that the real one is left alone. /sys is not needed. */
static bool machine(void)
{
	struct err e = { 0 };
	char text[4096];

	if (geteuid() != 0) {
		test_skip("needs root");
		return false;
	}
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
		test_skip("no network namespaces here");
		return false;
	}
	if (net_open(&e) < 0) {
		test_skip(err_text(&e, text, sizeof(text)));
		return false;
	}
	return true;
}

static struct net_host host(const char *job, unsigned number, uint32_t base, unsigned prefix, bool isolated)
{
	struct net_host h = {
		.address = base + 1 + number, .gateway = base + 1, .prefix = prefix, .isolated = isolated
	};
	_cleanup_free_ char *id = strf("%04u%s", number, job);

	net_bridge_name(job, h.bridge);
	net_port_name(id, h.port);
	return h;
}

/* Of a job of one host. */
static struct net_host only_host(const char *job, uint32_t base)
{
	struct net_host h = host(job, 1, base, 30, false);

	h.bridge[0] = 0;
	return h;
}

static bool there(const char *name)
{
	return if_nametoindex(name) != 0;
}

/* What `nft` says of ours. */
static bool allowed(const char *port)
{
	_cleanup_free_ char *command = strf("nft list ruleset | grep -q '\"%s\" \\. 02:42'", port);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int bound(int ns, int type, const char *address, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = net_socket(ns, AF_INET, type, NULL), on = 1;

	inet_pton(AF_INET, address, &in.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	CHECK(bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	if (type == SOCK_STREAM)
		CHECK(listen(fd, 4) == 0);
	return fd;
}

/* 0, or why a connection from the namespace did not come about within so long. */
static int reach_within(int ms, int ns, const char *address, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	_cleanup_close_ int fd = net_socket(ns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, NULL);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t n = sizeof(int);
	int why = 0;

	inet_pton(AF_INET, address, &in.sin_addr);
	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&p, 1, ms) == 0)
		return ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n);
	return why;
}

/* Where nothing is to come of it. */
static int reach(int ns, const char *address, uint16_t port)
{
	return reach_within(500, ns, address, port);
}

/* Where there is to be an answer, and a loaded machine may take its time; the kernel asks again each second. */
static int reach_soon(int ns, const char *address, uint16_t port)
{
	return reach_within(60000, ns, address, port);
}

/* The kernel lets a new port forward a moment after it is up; containers take longer to start. */
static void settle(void)
{
	poll(NULL, 0, 100);
}

static int own_namespace(void)
{
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

TEST(two_hosts_of_a_job_see_each_other_and_another_job_does_not)
{
	struct net_host a, b, c;
	int na = -1, nb = -1, nc = -1, self;

	if (!machine())
		return;
	self = own_namespace();
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 29, false);
	b = host("aaaaaaaaaaaaaaaa", 2, 0x0ad50000, 29, false);
	c = host("cccccccccccccccc", 1, 0x0ad50008, 30, false);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_namespace_new(&nb, e));
	CHECK_OK(net_namespace_new(&nc, e));
	CHECK_OK(net_join(&a, na, e));
	CHECK_OK(net_join(&b, nb, e));
	CHECK_OK(net_join(&c, nc, e));
	CHECK(there(a.bridge) && there(a.port) && there(b.port) && there(c.bridge));
	CHECK(allowed(a.port) && allowed(b.port));

	_cleanup_close_ used int la = bound(na, SOCK_STREAM, "0.0.0.0", 7000),
	                         lb = bound(nb, SOCK_STREAM, "0.0.0.0", 7000);
	_cleanup_close_ used int lc = bound(nc, SOCK_STREAM, "0.0.0.0", 7000),
	                         lm = bound(self, SOCK_STREAM, "0.0.0.0", 7001);
	_cleanup_close_ used int ll = bound(na, SOCK_STREAM, NET_LINK_ADDRESS, 80);

	CHECK_INT(reach_soon(na, "10.213.0.3", 7000), 0);
	CHECK_INT(reach_soon(nb, "10.213.0.2", 7000), 0);
	CHECK_INT(reach_soon(na, NET_LINK_ADDRESS, 80), 0);
	CHECK_INT(reach_soon(nb, NET_LINK_ADDRESS, 80), ECONNREFUSED); /* another host's is another one */
	/* Another job, at its address, and the machine, at each of its. */
	CHECK_INT(reach(na, "10.213.0.10", 7000), ETIMEDOUT);
	CHECK_INT(reach(nc, "10.213.0.2", 7000), ETIMEDOUT);
	CHECK_INT(reach(na, "10.213.0.1", 7001), ETIMEDOUT);
	CHECK_INT(reach(na, "10.213.0.9", 7001), ETIMEDOUT);
	CHECK_INT(reach_soon(na, "127.0.0.1", 7001), ECONNREFUSED);
	/* The machine itself may, and gets answers. */
	CHECK_INT(reach_soon(self, "10.213.0.2", 7000), 0);

	CHECK_OK(net_part(&a, e));
	CHECK(there(a.bridge) && !there(a.port) && !allowed(a.port));
	CHECK_OK(net_part(&b, e));
	CHECK(!there(a.bridge) && !allowed(b.port) && there(c.bridge));
	CHECK_OK(net_part(&b, e)); /* again */
	CHECK_OK(net_part(&c, e));
	CHECK(!there(c.bridge));
	close(na);
	close(nb);
	close(nc);
	close(self);
}

TEST(the_only_host_of_a_job_needs_no_bridge)
{
	struct net_host a, b, c;
	int na = -1, nb = -1, nc = -1, self;

	if (!machine())
		return;
	self = own_namespace();
	a = only_host("aaaaaaaaaaaaaaaa", 0x0ad50000);
	b = only_host("bbbbbbbbbbbbbbbb", 0x0ad50004);
	c = host("cccccccccccccccc", 1, 0x0ad50008, 30, false);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_namespace_new(&nb, e));
	CHECK_OK(net_namespace_new(&nc, e));
	CHECK_OK(net_join(&a, na, e));
	CHECK_OK(net_join(&b, nb, e));
	CHECK_OK(net_join(&c, nc, e));
	CHECK(there(a.port) && !there("blmaaaaaaaa") && allowed(a.port) && there(c.bridge));

	int lb = bound(nb, SOCK_STREAM, "0.0.0.0", 7000);
	_cleanup_close_ used int la = bound(na, SOCK_STREAM, "0.0.0.0", 7000);
	_cleanup_close_ used int lc = bound(nc, SOCK_STREAM, "0.0.0.0", 7000),
	                         lm = bound(self, SOCK_STREAM, "0.0.0.0", 7001);

	CHECK_INT(reach_soon(self, "10.213.0.2", 7000), 0);
	CHECK_INT(reach(na, "10.213.0.6", 7000), ETIMEDOUT);
	CHECK_INT(reach(na, "10.213.0.10", 7000), ETIMEDOUT);
	CHECK_INT(reach(nc, "10.213.0.2", 7000), ETIMEDOUT);
	CHECK_INT(reach(na, "10.213.0.1", 7001), ETIMEDOUT);
	CHECK_INT(reach(na, "10.213.0.5", 7001), ETIMEDOUT);
	CHECK_INT(reach_soon(na, "127.0.0.1", 7001), ECONNREFUSED);
	CHECK_OK(net_part(&a, e));
	CHECK(!there(a.port) && !allowed(a.port) && there(b.port) && allowed(b.port));
	CHECK_OK(net_part(&a, e)); /* again */
	/* Its namespace goes, and the kernel removes the interface; what is left is swept. */
	close(lb);
	close(nb);
	for (int i = 0; i < 300 && there(b.port); i++)
		poll(NULL, 0, 100);
	CHECK(!there(b.port) && allowed(b.port));
	CHECK_OK(net_sweep(NULL, e));
	CHECK(!allowed(b.port) && there(c.bridge));
	CHECK_OK(net_part(&c, e));
	close(na);
	close(nc);
	close(self);
}

TEST(an_isolated_network_has_peers_and_nothing_else)
{
	struct net_host a, b;
	int na = -1, nb = -1, self;

	if (!machine())
		return;
	self = own_namespace();
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 29, true);
	b = host("aaaaaaaaaaaaaaaa", 2, 0x0ad50000, 29, true);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_namespace_new(&nb, e));
	CHECK_OK(net_join(&a, na, e));
	CHECK_OK(net_join(&b, nb, e));

	_cleanup_close_ used int lb = bound(nb, SOCK_STREAM, "0.0.0.0", 7000),
	                         lm = bound(self, SOCK_STREAM, "0.0.0.0", 7001);

	settle();
	CHECK_INT(reach_soon(na, "10.213.0.3", 7000), 0);
	CHECK(reach(na, "10.213.0.1", 7001) != 0);
	CHECK_INT(reach(na, "192.0.2.1", 7001), ENETUNREACH);
	CHECK_INT(reach(na, NET_LINK_ADDRESS, 80), ENETUNREACH);
	CHECK_OK(net_part(&a, e));
	CHECK_OK(net_part(&b, e));
	close(na);
	close(nb);
	close(self);
}

/* An ARP answer or an IPv4 packet with these as sender, from inside of a namespace, as one with CAP_NET_RAW could. */
static void forge(int ns, bool arp, uint32_t sender, uint32_t target, unsigned char mac_end)
{
	_cleanup_close_ int fd = net_socket(ns, AF_PACKET, SOCK_RAW, NULL), self = own_namespace();
	unsigned char f[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 10, 213, 0, mac_end, 8, arp ? 6 : 0 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	uint32_t s = htonl(sender), t = htonl(target), sum = 0;

	if (arp) {
		const unsigned char head[] = { 0, 1, 8, 0, 6, 4, 0, 2, 0x02, 0x42, 10, 213, 0, mac_end };

		memcpy(f + 14, head, sizeof(head));
		memcpy(f + 28, &s, 4);
		memcpy(f + 38, &t, 4);
	} else {
		const unsigned char head[] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0 };

		memcpy(f + 14, head, sizeof(head));
		memcpy(f + 26, &s, 4);
		memcpy(f + 30, &t, 4);
		for (int i = 14; i < 34; i += 2)
			sum += (unsigned)f[i] << 8 | f[i + 1];
		sum = ~((sum & 0xffff) + (sum >> 16));
		f[24] = (unsigned char)(sum >> 8);
		f[25] = (unsigned char)sum;
	}
	CHECK(setns(ns, CLONE_NEWNET) == 0);
	to.sll_ifindex = (int)if_nametoindex("eth0");
	CHECK(setns(self, CLONE_NEWNET) == 0);
	CHECK(sendto(fd, f, sizeof(f), 0, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)sizeof(f));
}

/* Frames that arrive at eth0 of the namespace in a moment, of those two kinds with this sender. */
static int arrivals(int fd, uint32_t sender)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned char f[2048];
	uint32_t s = htonl(sender);
	int n = 0;

	while (poll(&p, 1, 100) > 0) {
		struct sockaddr_ll from = { 0 };
		socklen_t len = sizeof(from);
		ssize_t got = recvfrom(fd, f, sizeof(f), 0, (struct sockaddr *)&from, &len);

		if (got >= 42 && from.sll_pkttype != PACKET_OUTGOING && f[12] == 8)
			n += memcmp(f + (f[13] == 6 ? 28 : 26), &s, 4) == 0;
	}
	return n;
}

TEST(senders_cannot_be_forged)
{
	struct net_host a, b;
	int na = -1, nb = -1, heard = 0;

	if (!machine())
		return;
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 29, false);
	b = host("aaaaaaaaaaaaaaaa", 2, 0x0ad50000, 29, false);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_namespace_new(&nb, e));
	CHECK_OK(net_join(&a, na, e));
	CHECK_OK(net_join(&b, nb, e));

	_cleanup_close_ int ear = net_socket(nb, AF_PACKET, SOCK_RAW, NULL);
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	CHECK(bind(ear, (struct sockaddr *)&all, sizeof(all)) == 0);
	/* Its own address, so that it is known that the ear hears. */
	for (int i = 0; i < 30 && heard == 0; i++) {
		forge(na, true, a.address, b.address, 2);
		heard = arrivals(ear, a.address);
	}
	CHECK(heard > 0);
	forge(na, false, a.address, b.address, 2);
	CHECK_INT(arrivals(ear, a.address), 1);
	forge(na, true, a.gateway, b.address, 2);
	forge(na, false, a.gateway, b.address, 2);
	forge(na, false, 0x08080808, b.address, 2);
	forge(na, true, a.gateway, b.address, 1);
	forge(na, false, a.gateway, b.address, 1);
	CHECK_INT(arrivals(ear, a.gateway), 0);
	CHECK_INT(arrivals(ear, 0x08080808), 0);
	CHECK_OK(net_part(&a, e));
	CHECK_OK(net_part(&b, e));
	close(na);
	close(nb);
}

/* A third namespace is the outside, with a link to the machine's; nothing there knows of the job's addresses. */
static int make_outside(void)
{
	int outside = -1, rc;

	CHECK_OK(net_namespace_new(&outside, e));
	_cleanup_free_ char *command = strf(
	        "ip link add up0 type veth peer name eth0 netns /proc/%d/fd/%d && "
	        "ip addr add 198.51.100.1/24 dev up0 && ip link set up0 up && "
	        "nsenter --net=/proc/%d/fd/%d sh -c 'ip addr add 198.51.100.2/24 dev eth0 && "
	        "ip link set eth0 up'",
	        getpid(), outside, getpid(), outside);
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	CHECK(waitpid(pid, &rc, 0) == pid && rc == 0);
	return outside;
}

TEST(outwards_by_nat)
{
	struct sockaddr_in from = { 0 };
	socklen_t n = sizeof(from);
	struct net_host a;
	int na = -1, outside, rc;

	if (!machine())
		return;
	outside = make_outside();
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 30, false);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_join(&a, na, e));

	_cleanup_close_ used int lo = bound(outside, SOCK_STREAM, "0.0.0.0", 7000),
	                         la = bound(na, SOCK_STREAM, "0.0.0.0", 7000);

	settle();
	CHECK_INT(reach_soon(na, "198.51.100.2", 7000), 0);
	fd_set_nonblock(lo, true);
	rc = accept(lo, (struct sockaddr *)&from, &n);
	CHECK(rc >= 0 && ntohl(from.sin_addr.s_addr) == 0xc6336401); /* the machine's address */
	close(rc);
	CHECK_INT(reach(na, "198.51.100.1", 7000), ETIMEDOUT);
	/* Inwards nothing, even for one who routes it here. */
	pid_t pid = fork();

	if (pid == 0) {
		execl("/usr/bin/nsenter", "nsenter", strf("--net=/proc/%d/fd/%d", getppid(), outside), "ip", "route",
		      "add", "10.213.0.0/16", "via", "198.51.100.1", NULL);
		_exit(127);
	}
	CHECK(waitpid(pid, &rc, 0) == pid && rc == 0);
	CHECK_INT(reach(outside, "10.213.0.2", 7000), ETIMEDOUT);
	CHECK_OK(net_part(&a, e));
	close(na);
	close(outside);
}

/* Several containers of a host: each has ports of its own, and all go outwards under the host's address. */
TEST(namespaces_within_that_of_a_host)
{
	struct sockaddr_in from = { 0 };
	socklen_t n = sizeof(from);
	int na = -1, inner[2] = { -1, -1 }, outside, rc;
	struct net_host a;

	if (!machine())
		return;
	outside = make_outside();
	a = only_host("aaaaaaaaaaaaaaaa", 0x0ad50000);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_join(&a, na, e));
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(net_namespace_new(&inner[i], e));
		CHECK_OK(net_nest(na, inner[i], i, e));
	}

	_cleanup_close_ used int lo = bound(outside, SOCK_STREAM, "0.0.0.0", 7000),
	                         l0 = bound(inner[0], SOCK_STREAM, "0.0.0.0", 8080),
	                         ll = bound(inner[0], SOCK_STREAM, NET_LINK_ADDRESS, 80),
	                         l1 = bound(inner[1], SOCK_STREAM, "0.0.0.0", 8080);

	settle();
	CHECK_INT(reach_soon(inner[0], "127.0.0.1", 8080), 0);
	CHECK_INT(reach_soon(inner[1], "127.0.0.1", 8080), 0);
	CHECK_INT(reach_soon(inner[0], NET_LINK_ADDRESS, 80), 0);
	CHECK_INT(reach_soon(inner[1], NET_LINK_ADDRESS, 80), ECONNREFUSED);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_INT(reach_soon(inner[i], "198.51.100.2", 7000), 0);
		fd_set_nonblock(lo, true);
		rc = accept(lo, (struct sockaddr *)&from, &n);
		CHECK(rc >= 0 && ntohl(from.sin_addr.s_addr) == 0xc6336401);
		close(rc);
		CHECK_INT(reach(inner[i], "198.51.100.1", 7000), ETIMEDOUT);
		close(inner[i]);
	}
	CHECK_OK(net_part(&a, e));
	CHECK(!there(a.port));
	close(na);
	close(outside);
}

/* Without any network. */
TEST(the_link_address_alone)
{
	int ns = -1;

	if (!machine())
		return;
	CHECK_OK(net_namespace_new(&ns, e));
	CHECK_OK(net_link(ns, e));

	_cleanup_close_ used int ll = bound(ns, SOCK_STREAM, NET_LINK_ADDRESS, 80);

	CHECK_INT(reach_soon(ns, NET_LINK_ADDRESS, 80), 0);
	CHECK_INT(reach(ns, "192.0.2.1", 80), ENETUNREACH);
	close(ns);
}

TEST(what_a_killed_supervisor_leaves_is_swept)
{
	struct net_host a, b;
	int na = -1, nb = -1;

	if (!machine())
		return;
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 30, false);
	b = host("bbbbbbbbbbbbbbbb", 1, 0x0ad50004, 30, false);
	CHECK_OK(net_namespace_new(&na, e));
	CHECK_OK(net_namespace_new(&nb, e));
	CHECK_OK(net_join(&a, na, e));
	CHECK_OK(net_join(&b, nb, e));
	close(na); /* with its last user goes the namespace, a moment later, and its end of the pair */
	CHECK_OK(net_sweep(a.port, e));
	CHECK(!there(a.bridge) && !there(a.port) && !allowed(a.port));
	CHECK(there(b.bridge) && there(b.port) && allowed(b.port));
	CHECK_OK(net_sweep(NULL, e));
	CHECK(there(b.bridge));
	CHECK_OK(net_part(&b, e));
	close(nb);
}

static void count_link(const char *name, unsigned index, unsigned master, void *arg)
{
	(void)index, (void)master;
	*(unsigned *)arg = name ? *(unsigned *)arg + 1 : 0;
}

/* The kernel breaks a look off when something changes meanwhile, which others may do at any time. */
TEST(looking_while_others_change_things)
{
	enum { BRIDGES = 60, LOOKS = 300 };
	struct nl nl = { 0 };
	char name[NET_NAME_BYTES];
	unsigned wrong = 0;
	pid_t other;

	if (!machine())
		return;
	CHECK_OK(nl_open(&nl, NETLINK_ROUTE, e));
	for (unsigned i = 0; i < BRIDGES; i++) {
		snprintf(name, sizeof(name), "br%u", i);
		CHECK_INT(link_bridge(&nl, name, i), 0);
	}
	other = fork();
	if (other == 0) {
		struct nl own = { 0 };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (bool ok = nl_open(&own, NETLINK_ROUTE, NULL) == 0; ok;)
			ok = link_bridge(&own, "other", 1) == 0 && link_delete(&own, "other") == 0;
		_exit(1);
	}
	for (unsigned i = 0; i < LOOKS; i++) {
		unsigned seen = 0;

		wrong += link_each(&nl, count_link, &seen) != 0 || seen < BRIDGES || seen > BRIDGES + 10;
	}
	CHECK_INT(wrong, 0);
	CHECK(kill(other, SIGKILL) == 0 && waitpid(other, NULL, 0) == other);
	nl_close(&nl);
}

static bool machine_has(struct net_range r)
{
	_cleanup_free_ struct net_range *all = NULL;
	size_t n = net_ranges_of_machine(&all);
	bool found = false;

	for (size_t i = 0; i < n; i++)
		found |= net_range_overlap(all[i], r);
	return found;
}

TEST(bad_networks_are_refused)
{
	struct net_host good, h;
	struct err why = { 0 };
	int ns = -1, other = -1;

	if (!machine())
		return;
	good = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 30, false);
	CHECK_OK(net_namespace_new(&ns, e));
	h = good;
	h.address = 0x08080809;
	h.gateway = 0x08080808;
	CHECK(net_join(&h, ns, &why) < 0 && why.kind == ERR_INVALID);
	h = good;
	h.prefix = 8;
	CHECK(net_join(&h, ns, &why) < 0 && why.kind == ERR_INVALID);
	h = good;
	h.gateway = 0x0ad60001;
	CHECK(net_join(&h, ns, &why) < 0 && why.kind == ERR_INVALID);
	h = good;
	h.address = 0x0ad50003;
	CHECK(net_join(&h, ns, &why) < 0 && why.kind == ERR_INVALID);
	CHECK_OK(net_join(&good, ns, e));
	/* The same addresses for another job. */
	CHECK_OK(net_namespace_new(&other, e));
	h = host("bbbbbbbbbbbbbbbb", 1, 0x0ad50000, 30, false);
	CHECK(net_join(&h, other, &why) < 0 && why.kind == ERR_IN_USE);
	CHECK(!there(h.bridge) && !there(h.port) && there(good.bridge));
	CHECK(machine_has((struct net_range){ 0x0ad50000, 30 }));
	CHECK(!machine_has((struct net_range){ 0x0ad50004, 30 }));
	CHECK(net_address_is_ours(0x0ad50001) && net_address_is_ours(0x7f000035) && !net_address_is_ours(0x0ad50002));
	CHECK_OK(net_part(&good, e));
	close(ns);
	close(other);
}

/* Not a limit that a loaded machine could miss, but ten times what it should take. */
TEST(it_does_not_take_long)
{
	int64_t least_ms = INT64_MAX;
	struct net_host a;
	int ns = -1;

	if (!machine())
		return;
	a = host("aaaaaaaaaaaaaaaa", 1, 0x0ad50000, 30, false);
	/* The aim is 5 ms (`make bench`); here the best of some, as the machine may be busy with other things. */
	for (int i = 0; i < 40 && least_ms >= 50; i++) {
		struct mono began = mono_now();
		int64_t took;

		CHECK_OK(net_namespace_new(&ns, e));
		CHECK_OK(net_join(&a, ns, e));
		took = mono_ms_since(began);
		least_ms = took < least_ms ? took : least_ms;
		CHECK_OK(net_part(&a, e));
		close(ns);
	}
	CHECK(least_ms < 50);
}
