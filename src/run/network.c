/* The host's network: its namespace, its place on the bridge of the job, and what it may have of the machine there.
 *
 * The kernel takes a tenth of a second to remove interfaces. Once the container has ended a child of ours begins to,
 * and it is waited for when all else is done and the end has been told: nobody can use what is left of the network
 * then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "run/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/limits.h"
#include "net/net.h"
#include "net/proxy.h"
#include "net/seal.h"
#include "run/phase.h"

enum {
	SOCKETS_EACH = 4,
	SOCKETS = SOCKETS_EACH * SPEC_MAX_CONTAINERS,
	BACKLOG = 64,
	STARTS = 5,
	RESOLV_MAX = 64 << 10
};

struct network {
	struct run *run;
	struct net_host host;
	struct net_limits limits;
	pid_t sealer; /* wireguard-go; 0: none */
	struct loop_source *sealers_process;
	bool joined;
	pid_t parting; /* 0: not begun, or waited for */
	/* the proxy */
	struct {
		int fd;
		bool datagrams;
		char *to; /* "127.0.0.1:8770" */
	} socket[SOCKETS];
	size_t count;
	pid_t pid;
	struct loop_source *process;
	unsigned starts;
};

/* ---- the proxy ---- */

static void start_proxy(struct network *n);

static void on_proxy(void *arg, int code, int status)
{
	struct network *n = arg;

	loop_source_free(take_ptr(n->process));
	n->pid = 0;
	log_warn("bloomery-proxy %s %d", code == CLD_EXITED ? "ended with status" : "was killed by signal", status);
	start_proxy(n);
}

static int spawn_proxy(struct network *n, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-proxy", n->run->programs_dir);
	const char *argv[1 + 3 * SOCKETS + 1] = { program };
	char number[SOCKETS][16];
	int keep[SOCKETS];
	struct spawn_options o = { .argv = argv,
		                   .in = -1,
		                   .out = -1,
		                   .err_fd = STDERR_FILENO,
		                   .keep = keep,
		                   .keep_count = n->count,
		                   .die_with_parent = true,
		                   .setsid = true };

	for (size_t i = 0; i < n->count; i++) {
		snprintf(number[i], sizeof(number[i]), "%d", n->socket[i].fd);
		argv[1 + 3 * i] = n->socket[i].datagrams ? "udp" : "tcp";
		argv[2 + 3 * i] = number[i];
		argv[3 + 3 * i] = n->socket[i].to;
		keep[i] = n->socket[i].fd;
	}
	if (spawn(&o, &n->pid, e) < 0)
		return -1;
	n->process = loop_process(n->run->loop, n->pid, true, on_proxy, n);
	return n->process ? 0 : err_sys(e, "watching bloomery-proxy");
}

/* Its sockets are ours, so who connects while there is none only waits. */
static void start_proxy(struct network *n)
{
	struct err e = { 0 };

	if (n->starts++ >= STARTS) {
		run_say(n->run, "The container cannot reach the API any more: bloomery-proxy has ended %u times.",
		        STARTS);
		return;
	}
	if (spawn_proxy(n, &e) < 0)
		log_err(LOG_ERROR, &e, "starting bloomery-proxy");
}

static void end_proxy(struct network *n)
{
	loop_source_free(take_ptr(n->process));
	if (n->pid > 0) {
		kill(n->pid, SIGKILL);
		while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	n->pid = 0;
	for (size_t i = 0; i < n->count; i++) {
		cleanup_closep(&n->socket[i].fd);
		free(n->socket[i].to);
	}
	n->count = 0;
}

/* A socket of the container's, on the address that only it has. */
static int add_socket(struct network *n, int ns_fd, uint16_t port, bool datagrams, const char *to, struct err *e)
{
	_cleanup_close_ int fd = net_socket(ns_fd, AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, e);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (fd < 0)
		return -1;
	inet_pton(AF_INET, NET_LINK_ADDRESS, &in.sin_addr);
	if (bind(fd, (const struct sockaddr *)&in, sizeof(in)) < 0 || (!datagrams && listen(fd, BACKLOG) < 0))
		return err_sys(e, "listening on " NET_LINK_ADDRESS ":%u", port);
	n->socket[n->count].fd = take_fd(fd);
	n->socket[n->count].datagrams = datagrams;
	n->socket[n->count++].to = xstrdup(to);
	return 0;
}

/* "http://127.0.0.1:8770" -> "127.0.0.1:8770"; NULL when it is nothing that the proxy can connect to. */
static char *api_address(const char *url)
{
	struct str s = str_of(url);
	struct proxy_address a;

	if (!str_skip(&s, STR("http://")))
		return NULL;
	s = str_cut(&s, '/');
	return proxy_address_parse(s, &a) ? str_dup(s) : NULL;
}

static int open_sockets(struct network *n, int ns_fd, const char *resolver, struct err *e)
{
	_cleanup_free_ char *api = api_address(n->run->spec.api_url), *dns = resolver ? strf("%s:53", resolver) : NULL;

	if (api && (add_socket(n, ns_fd, NETWORK_CREDENTIALS_PORT, false, api, e) < 0 ||
	            add_socket(n, ns_fd, NETWORK_API_PORT, false, api, e) < 0))
		return -1;
	if (!api && n->run->spec.api_url)
		run_say(n->run, "The container cannot reach the API: %s is no address with a port.",
		        n->run->spec.api_url);
	if (dns && (add_socket(n, ns_fd, 53, true, dns, e) < 0 || add_socket(n, ns_fd, 53, false, dns, e) < 0))
		return -1;
	return 0;
}

/* ---- names ---- */

/* A line of resolv.conf: the server it names, without a zone. */
static bool is_server(struct str line, struct str *ret)
{
	line = str_trim(line);
	if (!str_skip(&line, STR("nameserver")) || !line.n || (line.p[0] != ' ' && line.p[0] != '\t'))
		return false;
	*ret = str_trim(line);
	return true;
}

/* A server that packets from the container reach by themselves: it has an IPv4 address, and is not this machine. */
static bool reachable(struct str server)
{
	uint32_t address;

	return net_address_parse(server, &address) && !net_address_is_ours(address);
}

char *network_resolv(struct str machines, const struct network_spec *net, struct buf *out)
{
	_cleanup_free_ char *first = NULL;
	struct str line, server;
	bool direct = false, named = !net->subnet || strcmp(net->subnet, "none") != 0;

	for (struct str rest = machines; rest.n;)
		if (is_server(str_cut(&rest, '\n'), &server)) {
			direct |= !net->subnet && reachable(server);
			if (!first && named)
				first = memchr(server.p, ':', server.n) ? strf("[" PRIstr "]", ARGstr(server))
				                                        : str_dup(server);
		}
	if (!direct && first)
		buf_z(out, "nameserver " NET_LINK_ADDRESS "\n");
	for (struct str rest = machines; rest.n;) {
		line = str_cut(&rest, '\n');
		if (is_server(line, &server) ? direct && reachable(server) : line.n > 0 && line.p[0] != '#')
			buf_f(out, PRIstr "\n", ARGstr(line));
	}
	return direct ? NULL : take_ptr(first);
}

/* ---- encryption ---- */

static bool read_key(const char *hex, unsigned char *ret)
{
	return hex && unhex(str_of(hex), ret, NET_KEY_BYTES);
}

static void on_sealer(void *arg, int code, int status)
{
	struct network *n = arg;
	struct err e = { 0 };

	loop_source_free(take_ptr(n->sealers_process));
	n->sealer = 0;
	err_set(&e, ERR_IO, "wireguard-go, which encrypts the traffic between the hosts, %s %d",
	        code == CLD_EXITED ? "ended with status" : "was killed by signal", status);
	log_err(LOG_ERROR, &e, "network");
	if (n->run->outcome.started && !n->run->outcome.exited)
		training_failed(n->run, &e);
}

/* wireguard-go looks for its socket in /run/wireguard, which is here for this process and its children alone. */
static int own_socket_directory(struct err *e)
{
	if (mkdir("/run/wireguard", 0700) < 0 && errno != EEXIST)
		return err_sys(e, "making /run/wireguard");
	if (mount("wireguard", "/run/wireguard", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=64k") < 0)
		return err_sys(e, "mounting /run/wireguard");
	return 0;
}

static int seal(struct network *n, struct err *e)
{
	const struct network_spec *net = &n->run->spec.network;
	_cleanup_free_ struct net_seal_peer *peer = xcalloc(net->peer_count, sizeof(*peer));
	struct net_seal s = { .host_number = n->run->spec.host_number, .peer = peer };
	int rc;

	for (size_t i = 0; i < net->peer_count; i++) {
		struct net_seal_peer *p = &peer[s.peer_count];

		p->host_number = (unsigned)i + 1;
		if (p->host_number == s.host_number)
			continue;
		if (!read_key(net->peers[i].public_key, p->public_key) ||
		    !net_address_parse(str_of(net->peers[i].address), &p->address))
			return err_set(e, ERR_INVALID, "spec.json: what is said of %s is no key or no address",
			               net->peers[i].name);
		s.peer_count++;
	}
	if (!read_key(net->private_key, s.private_key))
		return err_set(e, ERR_INVALID, "spec.json: network.private_key is none");
	rc = own_socket_directory(e) < 0 ? -1 : net_seal_up(n->run->network_ns, &s, &n->sealer, e);
	explicit_bzero(&s, sizeof(s));
	if (rc == 0 && n->sealer > 0)
		n->sealers_process = loop_process(n->run->loop, n->sealer, true, on_sealer, n);
	return rc;
}

static void end_sealer(struct network *n)
{
	loop_source_free(take_ptr(n->sealers_process));
	if (n->sealer > 0) {
		kill(n->sealer, SIGKILL);
		while (waitpid(n->sealer, NULL, 0) < 0 && errno == EINTR)
			;
	}
	n->sealer = 0;
}

/* ---- joining ---- */

static int host_of(const struct run *r, struct network *n, struct err *e)
{
	const struct network_spec *s = &r->spec.network;
	struct net_host *h = &n->host;

	*h = (struct net_host){ .prefix = s->prefix, .isolated = s->isolated, .sealed = s->private_key != NULL };
	if (r->spec.host_count > 1)
		snprintf(h->bridge, sizeof(h->bridge), "%s", s->bridge);
	net_port_name(r->spec.id, h->port);
	if (!net_address_parse(str_of(s->address), &h->address) || !net_address_parse(str_of(s->gateway), &h->gateway))
		return err_set(e, ERR_INVALID, "spec.json: the addresses of the network are none");
	if (!s->subnet)
		return 0;
	if (net_limits_subnet(&n->limits, str_of(s->subnet), e) < 0 ||
	    net_limits_traffic(&n->limits, str_of(s->traffic ? s->traffic : ""), e) < 0)
		return err_in(e, "spec.json: network");
	h->limits = &n->limits;
	return 0;
}

/* SDKs take credentials without TLS from this machine only, so the container gets them at a port of its loopback, which
 * is the machine's: others can reach it, too, but have not the token. */
static int offer_credentials(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char *api = api_address(r->spec.api_url);
	socklen_t n = sizeof(in);
	struct network *own;

	if (!api) {
		run_say(r, "The container gets no credentials: %s is no address with a port.", r->spec.api_url);
		return 0;
	}
	if (fd < 0 || bind(fd, (const struct sockaddr *)&in, n) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &n) < 0) {
		free(api);
		return err_sys(e, "listening on the loopback");
	}
	own = r->network = xcalloc(1, sizeof(*own));
	own->run = r;
	own->socket[0].fd = take_fd(fd);
	own->socket[0].to = api;
	own->count = 1;
	r->credentials_url = strf("http://127.0.0.1:%u%s", ntohs(in.sin_port), r->spec.credentials_path);
	start_proxy(own);
	return 0;
}

/* The peers are other machines, and this one's network is the one they reach. */
static int share_machines(struct run *r, struct err *e)
{
	if (r->isolated && r->spec.host_count > 1)
		return err_set(e, ERR_CLIENT,
		               "EnableNetworkIsolation of a job of %u hosts cannot be kept on machines of their own, "
		               "where containers use the machine's network: use one host, or leave it out",
		               r->spec.host_count);
	if (r->isolated)
		return net_namespace_new(&r->network_ns, e);
	return r->spec.credentials_path ? offer_credentials(r, e) : 0;
}

/* Hosts that are to reach each other do not without networks; one alone can do with the machine's. */
static int do_without(struct run *r, const char *why, struct err *e)
{
	if (r->spec.host_count > 1)
		return err_set(e, ERR_CLIENT,
		               "A job of %u hosts needs networks of its own, which do not work on this machine: %s",
		               r->spec.host_count, why);
	if (r->spec.network.subnet)
		return err_set(
		        e, ERR_CLIENT,
		        "VpcConfig cannot be acted on: jobs cannot have networks of their own on this machine: %s",
		        why);
	run_say(r, "The container shares the network of the machine, as jobs cannot have their own here: %s", why);
	free(take_ptr(r->spec.network.bridge));
	return 0;
}

/* The machine's server for names that containers ask through the proxy; NULL: they can ask by themselves, or not at
 * all. */
static char *resolver_of(const struct run *r)
{
	_cleanup_buf_ struct buf machines = { 0 }, resolv = { 0 };

	if (file_read("/etc/resolv.conf", RESOLV_MAX, &machines, NULL) < 0)
		buf_reset(&machines);
	return network_resolv(buf_view(&machines), &r->spec.network, &resolv);
}

static int join(struct run *r, struct err *e)
{
	struct network *n = xcalloc(1, sizeof(*n));

	r->network = n;
	n->run = r;
	if (host_of(r, n, e) < 0 || net_namespace_new(&r->network_ns, e) < 0 ||
	    net_join(&n->host, r->network_ns, e) < 0)
		return -1;
	n->joined = true;
	return n->host.sealed ? seal(n, e) : 0;
}

/* What it may have of the machine in the host's own namespace. */
static int give_sockets(struct run *r, struct err *e)
{
	_cleanup_free_ char *resolver = resolver_of(r);

	if (r->network->host.isolated)
		return 0;
	if (open_sockets(r->network, r->network_ns, resolver, e) < 0)
		return -1;
	if (r->network->count)
		start_proxy(r->network);
	return 0;
}

/* ---- of a transform job ---- */

/* Each of several containers has a namespace of its own, as each may listen where the others do. */
static int serve_one(struct box *b, bool isolated, const char *resolver, struct err *e)
{
	struct run *r = b->run;
	unsigned number = (unsigned)(b - r->box);

	if (r->box_count == 1 && r->network_ns >= 0) {
		b->network_ns = r->network_ns;
	} else {
		if (net_namespace_new(&b->network_ns, e) < 0)
			return -1;
		b->own_network = true;
		if (isolated)
			return 0;
		if (r->network_ns >= 0 ? net_nest(r->network_ns, b->network_ns, number, e) < 0
		                       : net_link(b->network_ns, e) < 0)
			return -1;
	}
	return open_sockets(r->network, b->network_ns, r->network_ns >= 0 ? resolver : NULL, e);
}

/* They never share the machine's network: there, ports are the machine's. */
static int serve(struct run *r, bool isolated, struct err *e)
{
	const char *why = r->options.no_network ? r->options.no_network : "network_pool is `none` in bloomery.conf";
	_cleanup_free_ char *resolver = NULL;

	if (!isolated && r->spec.network.bridge && !r->options.no_network) {
		if (join(r, e) < 0)
			return -1;
		resolver = resolver_of(r);
	} else if (!isolated && r->spec.network.subnet) {
		return err_set(e, ERR_CLIENT,
		               "VpcConfig cannot be acted on: jobs cannot have networks of their own on this machine: "
		               "%s",
		               why);
	} else {
		r->network = xcalloc(1, sizeof(*r->network));
		r->network->run = r;
		free(take_ptr(r->spec.network.bridge));
		if (!isolated)
			run_say(r,
			        "The container reaches the API and nothing else, as jobs cannot have networks of their "
			        "own here: %s",
			        why);
	}
	for (size_t i = 0; i < r->box_count; i++)
		if (serve_one(&r->box[i], isolated, resolver, e) < 0)
			return -1;
	if (r->network->count)
		start_proxy(r->network);
	return 0;
}

/* ---- the phase ---- */

enum step phase_network(struct run *r, struct err *e)
{
	bool isolated = json_is_true(json_object_get(r->spec.request, "EnableNetworkIsolation"));

	r->isolated = isolated;
	if (r->spec.host_count > 1 && !r->spec.network.private_key &&
	    json_is_true(json_object_get(r->spec.request, "EnableInterContainerTrafficEncryption")))
		return err_set(e, ERR_CLIENT,
		               "EnableInterContainerTrafficEncryption: the hosts of this job do not have a network "
		               "that "
		               "could be encrypted"),
		       STEP_FAIL;
	if (spec_is_transform(&r->spec))
		return serve(r, isolated, e) < 0 ? STEP_FAIL : STEP_NEXT;
	if (!r->spec.network.bridge && r->spec.network.peer_count)
		return share_machines(r, e) < 0 ? STEP_FAIL : STEP_NEXT;
	if (isolated && r->spec.host_count == 1)
		free(take_ptr(r->spec.network.bridge)); /* lo is all there is to have */
	else if (r->spec.network.bridge && r->options.no_network && do_without(r, r->options.no_network, e) < 0)
		return STEP_FAIL;
	else if (!r->spec.network.bridge && r->spec.host_count > 1)
		return do_without(r, "network_pool is `none` in bloomery.conf", e), STEP_FAIL;
	if (r->spec.network.bridge)
		return join(r, e) < 0 || give_sockets(r, e) < 0 ? STEP_FAIL : STEP_NEXT;
	if (isolated && net_namespace_new(&r->network_ns, e) < 0)
		return STEP_FAIL;
	return STEP_NEXT;
}

static void begin_to_part(struct network *n)
{
	if (!n->joined || n->parting)
		return;
	n->parting = fork();
	if (n->parting == 0) {
		close_range(3, ~0U, 0); /* locks and the like would last as long as this */
		_exit(net_part(&n->host, NULL) < 0);
	}
	if (n->parting < 0)
		n->parting = 0; /* in good time then */
}

void network_end(struct run *r)
{
	struct network *n = r->network;

	for (size_t i = 0; i < r->box_count; i++) {
		if (r->box[i].own_network)
			cleanup_closep(&r->box[i].network_ns);
		r->box[i].network_ns = -EBADF;
		r->box[i].own_network = false;
	}
	cleanup_closep(&r->network_ns);
	r->network_ns = -EBADF;
	if (!n)
		return;
	end_proxy(n);
	end_sealer(n);
	begin_to_part(n);
}

pid_t network_remover(const struct run *r)
{
	return r->network ? r->network->parting : 0;
}

void undo_network(struct run *r)
{
	network_end(r);
}

void network_wait(struct run *r)
{
	struct network *n = take_ptr(r->network);
	struct err e = { 0 };
	int status = -1; /* and stays so if it cannot be waited for */

	if (!n)
		return;
	while (n->parting > 0 && waitpid(n->parting, &status, 0) < 0 && errno == EINTR)
		;
	if (n->joined && status != 0 && net_part(&n->host, &e) < 0)
		log_err(LOG_WARN, &e, "removing the network");
	net_limits_fini(&n->limits);
	free(n);
}
