/* SPDX-License-Identifier: Apache-2.0 */
#include "net/seal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <net/if.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/loop.h"
#include "net/inside.h"

#define SOCKET_DIR "/run/wireguard"
enum { SEAL_BASE = 0xc6120000 /* 198.18.0.0 */, ANSWER_S = 20, PEERS_AT_ONCE = 32 };

const char *const net_sealing_name[] = { "", "kernel", "wireguard-go" };

uint32_t net_seal_address(unsigned host_number)
{
	return SEAL_BASE + host_number;
}

int net_key_new(unsigned char ret_private[NET_KEY_BYTES], unsigned char ret_public[NET_KEY_BYTES], struct err *e)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	size_t n = NET_KEY_BYTES, m = NET_KEY_BYTES;
	bool ok = key && EVP_PKEY_get_raw_private_key(key, ret_private, &n) == 1 &&
	          EVP_PKEY_get_raw_public_key(key, ret_public, &m) == 1 && n == NET_KEY_BYTES && m == NET_KEY_BYTES;

	EVP_PKEY_free(key);
	return ok ? 0 : err_set(e, ERR_BUG, "making an X25519 key");
}

/* ---- the interface ---- */

static int make_kernels(struct nl *nl)
{
	struct nlmsghdr *m = nl_begin(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(m, sizeof(*i));
	struct nlattr *info;

	i->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(m, IFLA_IFNAME, NET_SEAL_INTERFACE);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "wireguard");
	mnl_attr_nest_end(m, info);
	return nl_talk(nl, m, NULL, NULL);
}

static int start_interface(struct nl *nl, const struct net_seal *s)
{
	unsigned index = if_nametoindex(NET_SEAL_INTERFACE);
	int why = index ? link_add_address(nl, index, net_seal_address(s->host_number), NET_SEAL_PREFIX) : errno;

	return why ? why : link_up(nl, index);
}

/* ---- the kernel's, by generic netlink ---- */

static int on_family(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID && mnl_attr_validate(a, MNL_TYPE_U16) >= 0)
			*(uint16_t *)arg = mnl_attr_get_u16(a);
	}
	return MNL_CB_OK;
}

static struct nlmsghdr *begin_generic(struct nl *nl, uint16_t family, uint8_t command, uint8_t version)
{
	struct nlmsghdr *m = nl_begin(nl, family, 0);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(m, sizeof(*g));

	*g = (struct genlmsghdr){ .cmd = command, .version = version };
	return m;
}

static void put_peer(struct nlmsghdr *m, const struct net_seal_peer *p)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
		                        .sin_port = htons(NET_SEAL_PORT),
		                        .sin_addr.s_addr = htonl(p->address) };
	const uint32_t allowed = htonl(net_seal_address(p->host_number));
	struct nlattr *peer = mnl_attr_nest_start(m, 0), *list, *one;

	mnl_attr_put(m, WGPEER_A_PUBLIC_KEY, NET_KEY_BYTES, p->public_key);
	mnl_attr_put_u32(m, WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS);
	mnl_attr_put(m, WGPEER_A_ENDPOINT, sizeof(to), &to);
	list = mnl_attr_nest_start(m, WGPEER_A_ALLOWEDIPS);
	one = mnl_attr_nest_start(m, 0);
	mnl_attr_put_u16(m, WGALLOWEDIP_A_FAMILY, AF_INET);
	mnl_attr_put(m, WGALLOWEDIP_A_IPADDR, sizeof(allowed), &allowed);
	mnl_attr_put_u8(m, WGALLOWEDIP_A_CIDR_MASK, 32);
	mnl_attr_nest_end(m, one);
	mnl_attr_nest_end(m, list);
	mnl_attr_nest_end(m, peer);
}

/* The key and the port with the first peers; the others follow, as a message holds so many. */
static int configure_kernels(const struct net_seal *s, struct err *e)
{
	struct nl nl = { 0 };
	struct nlmsghdr *m;
	uint16_t family = 0;
	int why;

	if (nl_open(&nl, NETLINK_GENERIC, e) < 0)
		return e->os;
	m = begin_generic(&nl, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	mnl_attr_put_strz(m, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	why = nl_talk(&nl, m, on_family, &family);
	for (size_t at = 0; !why && (at == 0 || at < s->peer_count); at += PEERS_AT_ONCE) {
		struct nlattr *peers;

		m = begin_generic(&nl, family, WG_CMD_SET_DEVICE, WG_GENL_VERSION);
		mnl_attr_put_strz(m, WGDEVICE_A_IFNAME, NET_SEAL_INTERFACE);
		if (at == 0) {
			mnl_attr_put_u32(m, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS);
			mnl_attr_put(m, WGDEVICE_A_PRIVATE_KEY, NET_KEY_BYTES, s->private_key);
			mnl_attr_put_u16(m, WGDEVICE_A_LISTEN_PORT, NET_SEAL_PORT);
		}
		peers = mnl_attr_nest_start(m, WGDEVICE_A_PEERS);
		for (size_t i = at; i < s->peer_count && i < at + PEERS_AT_ONCE; i++)
			put_peer(m, &s->peer[i]);
		mnl_attr_nest_end(m, peers);
		why = nl_talk(&nl, m, NULL, NULL);
	}
	explicit_bzero(nl.bytes, sizeof(nl.bytes));
	nl_close(&nl);
	return why;
}

/* ---- wireguard-go ---- */

static const char *find_program(void)
{
	static const char *const places[] = { "/usr/bin/wireguard-go", "/usr/local/bin/wireguard-go" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* A tun device is in the namespace of who makes it. */
static int open_tun(struct err *e)
{
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq r = { .ifr_flags = IFF_TUN };

	snprintf(r.ifr_name, sizeof(r.ifr_name), NET_SEAL_INTERFACE);
	if (fd < 0)
		return err_sys(e, "opening /dev/net/tun");
	return ioctl(fd, TUNSETIFF, &r) < 0 ? err_sys(e, "making the interface " NET_SEAL_INTERFACE) : take_fd(fd);
}

static struct sockaddr_un socket_name(void)
{
	return (struct sockaddr_un){ .sun_family = AF_UNIX, .sun_path = SOCKET_DIR "/" NET_SEAL_INTERFACE ".sock" };
}

/* Where it is told its keys: made by us, so that it need not be waited for. */
static int listen_for_it(struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = socket_name();
	mode_t mask;
	int rc;

	if (fd < 0)
		return err_sys(e, "making a socket");
	unlink(a.sun_path);
	mask = umask(077);
	rc = bind(fd, (const struct sockaddr *)&a, sizeof(a));
	umask(mask);
	return rc < 0 || listen(fd, 4) < 0 ? err_sys(e, "listening on %s", a.sun_path) : take_fd(fd);
}

static void put_key(struct buf *out, const char *name, const unsigned char *key)
{
	buf_f(out, "%s=", name);
	buf_hex(out, key, NET_KEY_BYTES);
	buf_c(out, '\n');
}

static int configure_program(const struct net_seal *s, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = { .tv_sec = ANSWER_S };
	struct sockaddr_un a = socket_name();
	char text[NET_ADDRESS_BYTES], answer[64] = "";
	struct buf b = { 0 };
	ssize_t n;
	int rc;

	put_key(&b, "set=1\nprivate_key", s->private_key);
	buf_f(&b, "listen_port=%d\nreplace_peers=true\n", NET_SEAL_PORT);
	for (size_t i = 0; i < s->peer_count; i++) {
		const struct net_seal_peer *p = &s->peer[i];

		put_key(&b, "public_key", p->public_key);
		buf_f(&b, "endpoint=%s:%d\n", net_address_text(p->address, text), NET_SEAL_PORT);
		buf_f(&b, "allowed_ip=%s/32\n", net_address_text(net_seal_address(p->host_number), text));
	}
	buf_c(&b, '\n');
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		rc = err_sys(e, "talking to wireguard-go");
	else
		rc = fd_write_all(fd, b.p, b.n, e);
	explicit_bzero(b.p, b.n);
	buf_fini(&b);
	if (rc < 0)
		return -1;
	do
		n = recv(fd, answer, sizeof(answer) - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return err_set(e, ERR_IO, "wireguard-go does not answer");
	return strncmp(answer, "errno=0\n", 8) == 0 ? 0 : err_set(e, ERR_IO, "wireguard-go does not take its keys");
}

static int start_program(pid_t *ret_pid, struct err *e)
{
	_cleanup_close_ int tun = open_tun(e), listening = tun < 0 ? -1 : listen_for_it(e);
	_cleanup_free_ char *tun_fd = strf("WG_TUN_FD=%d", tun), *socket_fd = strf("WG_UAPI_FD=%d", listening);
	const char *const argv[] = { find_program(), "-f", NET_SEAL_INTERFACE, NULL };
	const char *const envp[] = { tun_fd, socket_fd, "LOG_LEVEL=error", "PATH=/usr/bin:/bin", NULL };
	const int keep[] = { tun, listening };
	const struct spawn_options o = { .argv = argv,
		                         .envp = envp,
		                         .in = -1,
		                         .out = -1,
		                         .err_fd = -1,
		                         .keep = keep,
		                         .keep_count = 2,
		                         .die_with_parent = true,
		                         .setsid = true };

	if (tun < 0 || listening < 0)
		return -1;
	if (!argv[0])
		return err_set(e, ERR_IO, "there is no wireguard-go here");
	return spawn(&o, ret_pid, e);
}

/* ---- both ---- */

struct sealing {
	const struct net_seal *seal;
	pid_t pid;
};

/* In the host's namespace. */
static int seal(void *arg, struct err *e)
{
	struct sealing *s = arg;
	struct nl nl = { 0 };
	int why;

	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	why = make_kernels(&nl);
	if (why == EOPNOTSUPP || why == ENODEV) {
		if (start_program(&s->pid, e) < 0 || configure_program(s->seal, e) < 0) {
			nl_close(&nl);
			return -1;
		}
		why = 0;
	} else if (!why) {
		struct err inner = { 0 };

		why = configure_kernels(s->seal, &inner);
	}
	if (!why)
		why = start_interface(&nl, s->seal);
	nl_close(&nl);
	errno = why;
	return why ? err_sys(e, "setting up " NET_SEAL_INTERFACE) : 0;
}

int net_seal_up(int ns_fd, const struct net_seal *s, pid_t *ret_pid, struct err *e)
{
	struct sealing one = { .seal = s };

	if (net_within(ns_fd, seal, &one, e) == 0) {
		*ret_pid = one.pid;
		return 0;
	}
	if (one.pid > 0) {
		kill(one.pid, SIGKILL);
		while (waitpid(one.pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	return err_in(e, "encrypting the traffic between the hosts");
}

static int try_kernels(void *arg, struct err *e)
{
	struct nl nl = { 0 };

	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	*(bool *)arg = make_kernels(&nl) == 0;
	nl_close(&nl);
	return 0;
}

enum net_sealing net_sealing_probe(void)
{
	_cleanup_close_ int ns = -EBADF, tun = -EBADF;
	bool kernels = false;

	if (net_namespace_new(&ns, NULL) == 0 && net_within(ns, try_kernels, &kernels, NULL) == 0 && kernels)
		return NET_SEALING_KERNEL;
	tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	return tun >= 0 && find_program() ? NET_SEALING_PROGRAM : NET_SEALING_NONE;
}
