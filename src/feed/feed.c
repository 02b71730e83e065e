/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/feed.h"

#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "feed/fifos.h"
#include "feed/stream.h"

enum { TICK_MS = 1000, HOLD_MS = 10000, FILES_WANTED = 4096 };

struct program {
	int out_fd, signal_fd, failed_fd;
	struct feeder_order order;
	struct feed feed;
	struct fifos *fifos;
	struct feed_stats told;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		bool failed;
		struct err why;
	} shared;
};

/* ---- what it may do ---- */

/* The container's directory and the store's files may be closed to root without it. */
static int drop_privileges(struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (syscall(SYS_capget, &head, data) < 0)
		return err_sys(e, "asking for the capabilities");
	data[0].permitted &= 1U << CAP_DAC_OVERRIDE;
	data[0].effective = data[0].permitted;
	data[0].inheritable = 0;
	data[1] = (struct __user_cap_data_struct){ 0 };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, "dropping privileges");
	return 0;
}

static int set_signals(struct program *p, struct err *e)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	p->failed_fd = eventfd(0, EFD_CLOEXEC);
	if (p->signal_fd < 0 || p->failed_fd < 0)
		return err_sys(e, "making descriptors to wait on");
	return 0;
}

/* ---- what the FIFOs' threads call ---- */

static int on_stream(void *arg, uint64_t epoch, int fd, struct err *e)
{
	struct program *p = arg;

	if (stream_epoch(&p->feed, epoch, fd, e) < 0)
		return err_in(e, "channel %s, epoch %llu", p->order.channel, (unsigned long long)epoch);
	return 0;
}

/* Never returns: the FIFO is to stay open as long as the process lives. */
static void on_failed(void *arg, const struct err *why)
{
	struct program *p = arg;

	pthread_mutex_lock(&p->shared.mu);
	if (!p->shared.failed)
		p->shared.why = *why;
	p->shared.failed = true;
	pthread_mutex_unlock(&p->shared.mu);
	must(eventfd_write(p->failed_fd, 1) == 0);
	for (;;)
		pause();
}

static void on_trouble(void *arg, const char *text)
{
	const struct program *p = arg;
	char *line = strf("channel %s: %s", p->order.channel, text);

	feeder_say_trouble(p->out_fd, line);
	free(line);
}

/* ---- telling ---- */

static uint64_t told_ms(atomic_ullong *ns)
{
	return atomic_load_explicit(ns, memory_order_relaxed) / 1000000;
}

static void tell(struct program *p)
{
	struct feed_counts *c = &p->feed.counts;
	struct fifos_counts f;
	struct feed_stats s;

	fifos_counts(p->fifos, &f);
	s = (struct feed_stats){ .epoch = f.newest,
		                 .epochs = f.opened,
		                 .objects = atomic_load_explicit(&c->objects, memory_order_relaxed),
		                 .bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed),
		                 .stalls_reader = atomic_load_explicit(&c->stalls_reader, memory_order_relaxed),
		                 .stalls_store = atomic_load_explicit(&c->stalls_store, memory_order_relaxed),
		                 .wait_reader_ms = told_ms(&c->wait_reader_ns),
		                 .wait_store_ms = told_ms(&c->wait_store_ns),
		                 .active_ms = (uint64_t)f.active_ns / 1000000 };
	if (memcmp(&s, &p->told, sizeof(s)) != 0)
		feeder_say_feed(p->out_fd, &s);
	p->told = s;
}

/* ---- the program ---- */

static int prepare(struct program *p, int in_fd, struct err *e)
{
	const struct feeder_order *o = &p->order;

	if (set_signals(p, e) < 0 || feeder_order_read(in_fd, &p->order, e) < 0)
		return -1;
	if (o->data_fd < 0 || o->spool_fd < 0)
		return err_set(e, ERR_INVALID, "%s is missing in the work order", o->data_fd < 0 ? "data" : "spool");
	if (!*o->channel || strchr(o->channel, '/') || strlen(o->channel) > 64)
		return err_set(e, ERR_INVALID, "channel is wrong in the work order");
	p->feed.order = o;
	if (drop_privileges(e) < 0 || feed_index_read(o->list_fd, &p->feed.index, e) < 0 ||
	    (o->place == PLACE_REMOTE && remote_share_new(&o->s3, &p->feed.remote, e) < 0))
		return err_in(e, "channel %s", o->channel);
	umask(0);
	p->fifos = fifos_new(&(struct fifos_options){ .dirfd = o->data_fd,
	                                              .channel = o->channel,
	                                              .stream = on_stream,
	                                              .failed = on_failed,
	                                              .trouble = on_trouble,
	                                              .arg = p });
	return fifos_start(p->fifos, e) < 0 ? err_in(e, "channel %s", o->channel) : 0;
}

/* True: SIGTERM, or nobody listens any more. */
static bool wait_for_end(struct program *p, bool failed, int timeout_ms)
{
	struct pollfd fds[] = { { .fd = p->signal_fd, .events = POLLIN },
		                { .fd = p->out_fd },
		                { .fd = failed ? -1 : p->failed_fd, .events = POLLIN },
		                { .fd = failed ? -1 : fifos_fd(p->fifos), .events = POLLIN } };

	while (poll(fds, ARRAY_LEN(fds), timeout_ms) < 0 && errno == EINTR)
		;
	if (fds[3].revents)
		fifos_heard(p->fifos);
	return fds[0].revents || fds[1].revents;
}

static bool has_failed(struct program *p, struct err *e)
{
	bool failed;

	pthread_mutex_lock(&p->shared.mu);
	failed = p->shared.failed;
	if (failed)
		*e = p->shared.why;
	pthread_mutex_unlock(&p->shared.mu);
	return failed;
}

/* The first failure, or the end that was asked for. */
static int run(struct program *p, struct err *e)
{
	bool failed = false, ended = false;
	int64_t left = TICK_MS;
	struct mono tick = mono_now();

	feeder_say_ready(p->out_fd);
	while (!failed && !ended) {
		ended = wait_for_end(p, false, left > 0 ? (int)left : 0);
		failed = has_failed(p, e);
		left = TICK_MS - mono_ms_since(tick);
		if (left > 0 && !failed && !ended)
			continue;
		fifos_tick(p->fifos);
		tell(p);
		tick = mono_now();
		left = TICK_MS;
	}
	return failed && !ended ? -1 : 0;
}

int feed_main(int in_fd, int out_fd)
{
	/* Threads look at it until the process has ended, so it is never freed. */
	struct program *p = xcalloc(1, sizeof(*p));
	struct err e = { 0 };
	int rc;

	p->out_fd = out_fd;
	pthread_mutex_init(&p->shared.mu, NULL);
	rc = prepare(p, in_fd, &e);
	if (rc == 0)
		rc = run(p, &e);
	if (rc < 0) {
		feeder_say_error(out_fd, &e);
		if (p->fifos)
			wait_for_end(p, true, HOLD_MS);
	}
	_exit(rc == 0 ? 0 : 1);
}
