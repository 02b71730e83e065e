/* Namespaces, joining and parting. SPDX-License-Identifier: Apache-2.0 */
#include "net/net.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/inside.h"

#define LOCK "/run/bloomery-net.lock"
enum { LINK_ADDRESS = 0xa9feaa02 /* NET_LINK_ADDRESS */, PREFIX_LEAST = 16, PREFIX_MOST = 30 };

static int os_error(struct err *e, int why, const char *what, const char *name)
{
	errno = why;
	return err_sys(e, "%s %s", what, name);
}

/* Every change of the machine's own namespace is made under it. */
static int take_lock(struct err *e)
{
	_cleanup_close_ int fd = open(LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return err_sys(e, "opening " LOCK);
	do
		rc = flock(fd, LOCK_EX);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? err_sys(e, "locking " LOCK) : take_fd(fd);
}

/* ---- in another namespace ---- */

static int open_own(struct err *e)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "opening the network namespace") : fd;
}

/* Runs fn in the namespace, or in a new one when ns_fd is negative. That we come back is not in doubt: nothing could go
 * on otherwise. */
int net_within(int ns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	_cleanup_close_ int own = open_own(e);
	int rc;

	if (own < 0)
		return -1;
	if (ns_fd < 0 ? unshare(CLONE_NEWNET) < 0 : setns(ns_fd, CLONE_NEWNET) < 0)
		return err_sys(e, "%s a network namespace", ns_fd < 0 ? "making" : "entering");
	rc = fn(arg, e);
	must(setns(own, CLONE_NEWNET) == 0);
	return rc;
}

/* A setting of the namespace the thread is in. */
static int set(const char *path, const char *value, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "opening %s", path);
	return fd_write_all(fd, value, strlen(value), e) < 0 ? err_in(e, "%s", path) : 0;
}

static int set_up_new(void *arg, struct err *e)
{
	int *ret_fd = arg, why;
	struct nl nl = { 0 };

	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	why = link_up(&nl, 1); /* lo is always the first */
	nl_close(&nl);
	if (why)
		return os_error(e, why, "starting", "lo");
	/* A namespace whose ports and packets are its own; where the kernel has no such setting it is as it is. */
	(void)!set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0", NULL);
	(void)!set("/proc/sys/net/ipv4/ping_group_range", "0 2147483647", NULL);
	/* Nobody tells it of IPv6 routers or addresses. */
	(void)!set("/proc/sys/net/ipv6/conf/default/accept_ra", "0", NULL);
	(void)!set("/proc/sys/net/ipv6/conf/default/autoconf", "0", NULL);
	*ret_fd = open_own(e);
	return *ret_fd < 0 ? -1 : 0;
}

int net_namespace_new(int *ret_fd, struct err *e)
{
	return net_within(-1, set_up_new, ret_fd, e);
}

struct wanted_socket {
	int domain, type, fd;
};

static int make_socket(void *arg, struct err *e)
{
	struct wanted_socket *w = arg;

	w->fd = socket(w->domain, w->type | SOCK_CLOEXEC, 0);
	return w->fd < 0 ? err_sys(e, "making a socket") : 0;
}

int net_socket(int ns_fd, int domain, int type, struct err *e)
{
	struct wanted_socket w = { domain, type, -1 };

	return net_within(ns_fd, make_socket, &w, e) < 0 ? -1 : w.fd;
}

/* ---- joining ---- */

/* In the host's own namespace. */
static int set_up_inside(void *arg, struct err *e)
{
	const struct net_host *h = arg;
	unsigned index = if_nametoindex("eth0");
	struct nl nl = { 0 };
	int why;

	if (index == 0)
		return err_sys(e, "finding eth0");
	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	why = link_add_address(&nl, index, h->address, h->prefix);
	if (!why)
		why = link_up(&nl, index);
	if (!why && !h->isolated)
		why = link_add_gateway(&nl, index, h->gateway);
	if (!why && !h->isolated)
		why = link_add_address(&nl, 1, LINK_ADDRESS, 32);
	nl_close(&nl);
	return why ? os_error(e, why, "setting up", "eth0") : 0;
}

static struct net_range range_of(const struct net_host *h)
{
	return (struct net_range){ h->address & net_mask(h->prefix), h->prefix };
}

/* Another interface than the bridge that has addresses in the host's network. */
struct rivals {
	struct net_range range;
	unsigned bridge, found;
};

static void look_for_rival(unsigned index, uint32_t address, unsigned prefix, void *arg)
{
	struct rivals *r = arg;

	if (index != r->bridge && net_range_overlap(r->range, (struct net_range){ address, prefix }))
		r->found = index;
}

static int check_range(struct nl *nl, const struct net_host *h, unsigned bridge, struct err *e)
{
	struct rivals r = { .range = range_of(h), .bridge = bridge };
	char name[IF_NAMESIZE] = "?", text[NET_ADDRESS_BYTES];
	int why = link_each_address(nl, look_for_rival, &r);

	if (why)
		return os_error(e, why, "reading", "addresses");
	if (!r.found)
		return 0;
	return err_set(e, ERR_IN_USE,
	               "the network %s/%u is already that of the interface %s; see network_pool in bloomery.conf",
	               net_address_text(r.range.base, text), h->prefix, if_indextoname(r.found, name) ? name : "?");
}

/* The machine's side: its address, unless the network is isolated. */
static int have_gateway(struct nl *nl, const struct net_host *h, const char *name, unsigned *ret_index, struct err *e)
{
	unsigned index = if_nametoindex(name);
	int why = 0;

	if (index == 0)
		return err_sys(e, "finding the interface %s", name);
	if (!h->isolated && check_range(nl, h, index, e) < 0)
		return -1;
	if (!h->isolated)
		why = link_add_address(nl, index, h->gateway, h->prefix);
	if (!why)
		why = link_up(nl, index);
	*ret_index = index;
	return why ? os_error(e, why, "setting up the interface", name) : 0;
}

/* *ret_index: of the bridge, new or another host's. */
static int have_bridge(struct nl *nl, const struct net_host *h, unsigned *ret_index, struct err *e)
{
	int why = link_bridge(nl, h->bridge, h->isolated ? range_of(h).base : h->gateway);

	if (why && why != EEXIST)
		return os_error(e, why, "making the bridge", h->bridge);
	return have_gateway(nl, h, h->bridge, ret_index, e);
}

static int allow(const struct net_host *h, struct err *e)
{
	enum rules_set set = h->bridge[0] ? RULES_PORT : RULES_ALONE;
	int why = rules_allow(h->port, h->address, set);

	/* Somebody has flushed the machine's rules since they were loaded. */
	if (why == ENOENT && rules_load(e) < 0)
		return -1;
	if (why == ENOENT)
		why = rules_allow(h->port, h->address, set);
	if (!why && h->sealed)
		why = rules_allow(h->port, h->address, RULES_SEALED);
	return why ? os_error(e, why, "allowing the address of", h->port) : 0;
}

static int join_locked(struct nl *nl, const struct net_host *h, int ns_fd, struct err *e)
{
	unsigned bridge = 0, port;
	int why;

	if (h->bridge[0] && have_bridge(nl, h, &bridge, e) < 0)
		return -1;
	why = link_veth(nl, h->port, bridge, ns_fd, h->address);
	if (why)
		return os_error(e, why, "making the interface", h->port);
	if (allow(h, e) < 0)
		return -1;
	if (h->limits && !h->isolated && rules_limit(h->bridge[0] ? h->bridge : h->port, h->limits, e) < 0)
		return -1;
	if (!h->bridge[0])
		return have_gateway(nl, h, h->port, &port, e);
	port = if_nametoindex(h->port);
	why = port ? link_up(nl, port) : errno;
	return why ? os_error(e, why, "starting the interface", h->port) : 0;
}

static int check(const struct net_host *h, struct err *e)
{
	struct net_range r = range_of(h);
	char text[NET_ADDRESS_BYTES];

	if (h->prefix < PREFIX_LEAST || h->prefix > PREFIX_MOST || !net_range_private(r))
		return err_set(e, ERR_INVALID, "%s/%u is no network for a job", net_address_text(r.base, text),
		               h->prefix);
	if (h->address == r.base || h->address == (r.base | ~net_mask(r.prefix)))
		return err_set(e, ERR_INVALID, "%s is no address of a host", net_address_text(h->address, text));
	if (!h->isolated && (!net_range_overlap(r, (struct net_range){ h->gateway, 32 }) || h->gateway == h->address))
		return err_set(e, ERR_INVALID, "%s is no gateway for this network", net_address_text(h->gateway, text));
	return 0;
}

static int sweep_locked(struct nl *nl, struct err *e);

static int delete_port(struct nl *nl, const char *port, struct err *e)
{
	int why = link_delete(nl, port);

	return why && why != ENODEV ? os_error(e, why, "removing the interface", port) : 0;
}

int net_join(const struct net_host *h, int ns_fd, struct err *e)
{
	_cleanup_close_ int lock = -EBADF;
	struct nl nl = { 0 };
	int rc;

	if (check(h, e) < 0)
		return -1;
	lock = take_lock(e);
	if (lock < 0 || nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	rc = join_locked(&nl, h, ns_fd, e);
	if (rc == 0)
		rc = net_within(ns_fd, set_up_inside, (void *)h, e);
	if (rc < 0 && (delete_port(&nl, h->port, NULL) < 0 || sweep_locked(&nl, NULL) < 0))
		log_warn("the network of %s is not whole and could not be removed", h->port);
	nl_close(&nl);
	return rc < 0 ? err_in(e, "joining the network of the job") : 0;
}

/* ---- a namespace within that of a host ---- */

#define NESTED_RANGE "169.254.171.0/24"
enum { NESTED_BASE = 0xa9feab00, NESTED_PREFIX = 30 };

struct nest {
	struct net_host inner; /* what the namespace within has */
	int ns_fd;
	unsigned number;
};

/* In the host's namespace. */
static int set_up_nest(void *arg, struct err *e)
{
	const struct nest *n = arg;
	char name[NET_NAME_BYTES];
	struct nl nl = { 0 };
	unsigned index;
	int why;

	snprintf(name, sizeof(name), "in%u", n->number);
	if (set("/proc/sys/net/ipv4/ip_forward", "1", e) < 0 || (n->number == 0 && rules_nest(NESTED_RANGE, e) < 0) ||
	    nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	why = link_veth(&nl, name, 0, n->ns_fd, n->inner.address);
	index = why ? 0 : if_nametoindex(name);
	if (!why)
		why = index ? link_add_address(&nl, index, n->inner.gateway, NESTED_PREFIX) : errno;
	if (!why)
		why = link_up(&nl, index);
	nl_close(&nl);
	return why ? os_error(e, why, "making the interface", name) : 0;
}

int net_nest(int host_ns_fd, int ns_fd, unsigned number, struct err *e)
{
	uint32_t base = NESTED_BASE + number * 4;
	struct nest n = { .inner = { .address = base + 2, .gateway = base + 1, .prefix = NESTED_PREFIX },
		          .ns_fd = ns_fd,
		          .number = number };

	must(number < NET_NESTED_MAX);
	if (net_within(host_ns_fd, set_up_nest, &n, e) < 0 || net_within(ns_fd, set_up_inside, &n.inner, e) < 0)
		return err_in(e, "making the network of a container");
	return 0;
}

static int add_link_address(void *arg, struct err *e)
{
	struct nl nl = { 0 };
	int why;

	(void)arg;
	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	why = link_add_address(&nl, 1, LINK_ADDRESS, 32);
	nl_close(&nl);
	return why ? os_error(e, why, "setting up", "lo") : 0;
}

int net_link(int ns_fd, struct err *e)
{
	return net_within(ns_fd, add_link_address, NULL, e);
}

/* ---- parting ---- */

struct seen {
	struct {
		char name[NET_NAME_BYTES];
		unsigned index, master;
	} * link;
	size_t n;
};

static void note_link(const char *name, unsigned index, unsigned master, void *arg)
{
	struct seen *s = arg;

	if (!name)
		s->n = 0;
	if (!name || (strncmp(name, "blm", 3) != 0 && strncmp(name, "blv", 3) != 0))
		return;
	s->link = xrealloc(s->link, (s->n + 1) * sizeof(*s->link));
	snprintf(s->link[s->n].name, NET_NAME_BYTES, "%s", name);
	s->link[s->n].index = index;
	s->link[s->n++].master = master;
}

static bool has_ports(const struct seen *s, unsigned bridge)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->link[i].master == bridge)
			return true;
	return false;
}

static bool is_there(const struct seen *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->link[i].name, name) == 0)
			return true;
	return false;
}

struct stale {
	const struct seen *seen;
	struct {
		char port[NET_NAME_BYTES];
		uint32_t address;
		enum rules_set set;
	} * entry;
	size_t n;
};

static void note_stale(const char *port, uint32_t address, enum rules_set set, void *arg)
{
	struct stale *s = arg;

	if (is_there(s->seen, port))
		return;
	s->entry = xrealloc(s->entry, (s->n + 1) * sizeof(*s->entry));
	snprintf(s->entry[s->n].port, NET_NAME_BYTES, "%s", port);
	s->entry[s->n].set = set;
	s->entry[s->n++].address = address;
}

static int forget_stale(const struct seen *seen)
{
	struct stale s = { .seen = seen };
	int why = rules_each(note_stale, &s);

	for (size_t i = 0; !why && i < s.n; i++)
		why = rules_forget(s.entry[i].port, s.entry[i].address, s.entry[i].set);
	free(s.entry);
	return why;
}

struct limited {
	const struct seen *seen;
	char (*name)[NET_NAME_BYTES];
	size_t n;
};

static void note_limited(const char *interface, void *arg)
{
	struct limited *l = arg;

	if (is_there(l->seen, interface) && if_nametoindex(interface))
		return;
	l->name = xrealloc(l->name, (l->n + 1) * sizeof(*l->name));
	snprintf(l->name[l->n++], NET_NAME_BYTES, "%s", interface);
}

/* Of interfaces that are gone, also those that have just been removed. */
static int forget_limits(const struct seen *seen, struct err *e)
{
	struct limited l = { .seen = seen };
	int why = rules_each_limited(note_limited, &l), rc = 0;

	if (why)
		rc = os_error(e, why, "reading", "the rules of jobs");
	for (size_t i = 0; rc == 0 && i < l.n; i++)
		rc = rules_unlimit(l.name[i], e);
	free(l.name);
	return rc;
}

/* Bridges without ports and addresses without interfaces: under the lock they are nobody's. */
static int sweep_locked(struct nl *nl, struct err *e)
{
	struct seen s = { 0 };
	int why = link_each(nl, note_link, &s), rc;

	for (size_t i = 0; (!why || why == ENODEV) && i < s.n; i++)
		if (net_bridge_name_ok(str_of(s.link[i].name)) && !has_ports(&s, s.link[i].index))
			why = link_delete(nl, s.link[i].name);
	if (!why || why == ENODEV)
		why = forget_stale(&s);
	rc = why ? os_error(e, why, "removing", "a network that nobody uses") : forget_limits(&s, e);
	free(s.link);
	return rc;
}

/* The port goes before the lock is taken: nobody else has to do with it, and the kernel takes its time. */
int net_sweep(const char *port, struct err *e)
{
	_cleanup_close_ int lock = -EBADF;
	struct nl nl = { 0 };
	int rc;

	if (nl_open(&nl, NETLINK_ROUTE, e) < 0)
		return -1;
	rc = port ? delete_port(&nl, port, e) : 0;
	lock = rc < 0 ? -EBADF : take_lock(e);
	if (lock >= 0)
		rc = sweep_locked(&nl, e);
	nl_close(&nl);
	return lock < 0 ? -1 : rc;
}

int net_part(const struct net_host *h, struct err *e)
{
	return net_sweep(h->port, e);
}

/* ---- at start ---- */

static int forward(struct err *e)
{
	static const char path[] = "/proc/sys/net/ipv4/ip_forward";
	_cleanup_buf_ struct buf now = { 0 };

	if (file_read(path, 64, &now, e) < 0)
		return -1;
	if (str_is(str_trim(buf_view(&now)), "1"))
		return 0;
	if (set(path, "1", e) < 0)
		return err_in(e, "letting the machine forward packets");
	log_info("net.ipv4.ip_forward is 1 from now on, so that containers reach the outside");
	return 0;
}

/* The whole of it, in an isolated network, which has no address in the machine's namespace to be in anybody's way. */
static int try(struct err *e)
{
	_cleanup_buf_ struct buf id = { 0 };
	_cleanup_close_ int ns = -EBADF;
	struct net_host h = { .address = 0x0a000001, .prefix = 30, .isolated = true };
	unsigned char bytes[8];

	random_bytes(bytes, sizeof(bytes));
	buf_hex(&id, bytes, sizeof(bytes));
	net_bridge_name(id.p, h.bridge);
	net_port_name(id.p, h.port);
	if (net_namespace_new(&ns, e) < 0 || net_join(&h, ns, e) < 0)
		return -1;
	return net_part(&h, e);
}

int net_open(struct err *e)
{
	_cleanup_close_ int lock = take_lock(e);

	if (lock < 0 || rules_load(e) < 0 || forward(e) < 0)
		return -1;
	cleanup_closep(&lock);
	lock = -EBADF;
	return try(e);
}
