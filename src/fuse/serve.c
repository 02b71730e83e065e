/* serve.c - fastfile_main(): the work order, the session's threads, and what is told while they run.
 * SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "fuse/fastfile.h"
#include "fuse/passthrough.h"

enum {
	THREADS = 16, /* that answer; each may wait for a disk */
	LISTENERS = 2,
	REQUEST_BYTES = 512 << 10, /* the largest read: fits in a pipe of 1 MiB, which anybody may have */
	REMOTE_REQUEST_BYTES = 1 << 20,
	CACHE_BYTES = 256 << 20, /* of another S3's objects */
	GETS = 32,               /* at once */
	PATIENCE_S = 30,         /* with a store that is gone */
	FILES_SPARE = 256,       /* descriptors that are not objects' files */
	FILES_MAX = 32768,
	BACKGROUND = 64, /* requests the kernel may have under way that nobody waits for yet */
	TELL_EVERY_MS = 1000,
};

struct server {
	struct feeder_order order;
	struct fs fs;
	struct fuse_session *session;
	struct crew crew;
	pthread_t thread[THREADS];
	unsigned threads;
	int ended[2]; /* a pipe: its other end is closed when a thread has ended */
};

/* ---- the session ---- */

static void fs_init(void *data, struct fuse_conn_info *conn)
{
	struct fs *fs = data;
	static const unsigned wanted[] = { FUSE_CAP_ASYNC_READ,        FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_SPLICE_WRITE,
		                           FUSE_CAP_READDIRPLUS,       FUSE_CAP_NO_OPEN_SUPPORT, FUSE_CAP_ASYNC_DIO,
		                           FUSE_CAP_NO_OPENDIR_SUPPORT };
	/* What libfuse asks for by itself, and what is of no use to a view that never changes. */
	static const unsigned unwanted[] = { FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_SPLICE_READ,
		                             FUSE_CAP_POSIX_LOCKS,      FUSE_CAP_FLOCK_LOCKS,     FUSE_CAP_IOCTL_DIR };

	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
		want_capability(conn, unwanted[i], false);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		want_capability(conn, wanted[i], true);
	if (fs->files)
		fs->passthrough = passthrough_new(conn);
	conn->max_write = fs->remote ? REMOTE_REQUEST_BYTES : REQUEST_BYTES; /* also how many pages a read may have */
	conn->max_readahead = UINT32_MAX; /* whatever fastfile_mount() has set: the kernel takes the smaller */
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND * 3 / 4;
	fs->no_open = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	fs->no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
}

static void *serve_thread(void *arg)
{
	struct server *s = arg;
	struct fuse_buf buf = { 0 };

	while (crew_listen(&s->crew) && !fuse_session_exited(s->session)) {
		int n = fuse_session_receive_buf(s->session, &buf);

		crew_heard(&s->crew);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break; /* unmounted */
		fuse_session_process_buf(s->session, &buf);
	}
	free(buf.mem);
	fuse_session_exit(s->session);
	crew_over(&s->crew);
	(void)!write(s->ended[1], "", 1);
	return NULL;
}

static int start_session(struct server *s, struct err *e)
{
	struct fuse_lowlevel_ops ops = {
		.init = fs_init,
		.lookup = fs_lookup,
		.forget = fs_forget,
		.forget_multi = fs_forget_multi,
		.getattr = fs_getattr,
		.open = fs_open,
		.release = fs_release,
		.read = fs_read,
		.opendir = fs_opendir,
		.readdir = fs_readdir,
		.readdirplus = fs_readdirplus,
		.statfs = fs_statfs,
	};
	char *argv[] = { "bloomery-fuse", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	_cleanup_free_ char *at = strf("/dev/fd/%d", s->order.fuse_fd);

	refuse_writing(&ops);
	s->session = fuse_session_new(&args, &ops, sizeof(ops), &s->fs);
	if (!s->session || fuse_session_mount(s->session, at) < 0)
		return err_set(e, ERR_IO, "the file system cannot be served: libfuse refuses");
	return 0;
}

static int start_threads(struct server *s, struct err *e)
{
	if (pipe2(s->ended, O_CLOEXEC) < 0)
		return err_sys(e, "starting");
	for (; s->threads < THREADS; s->threads++) {
		int rc = pthread_create(&s->thread[s->threads], NULL, serve_thread, s);

		if (rc && s->threads == 0) {
			errno = rc;
			return err_sys(e, "starting a thread");
		}
		if (rc)
			break; /* fewer will do */
	}
	return 0;
}

static void interrupt(int signo)
{
	(void)signo;
}

/* Threads that wait for the kernel's next request are interrupted until each has seen that it is over. */
static void end_threads(struct server *s)
{
	if (s->session)
		fuse_session_exit(s->session);
	crew_over(&s->crew);
	for (unsigned i = 0; i < s->threads; i++) {
		struct timespec until;

		do {
			pthread_kill(s->thread[i], SIGUSR1);
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += 20000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
		} while (pthread_timedjoin_np(s->thread[i], NULL, &until) == ETIMEDOUT);
	}
	s->threads = 0;
}

/* ---- telling ---- */

/* Until SIGTERM, the end of who listens, or that of a thread: says what has been read, once a second at most. */
static void tell(struct server *s, int out_fd, int signals)
{
	struct mono told = { 0 };
	struct feed_stats stats;

	for (;;) {
		int64_t quiet = told.ns ? TELL_EVERY_MS - mono_ms_since(told) : 0;
		struct pollfd p[] = {
			{ .fd = signals, .events = POLLIN },
			{ .fd = s->ended[0], .events = POLLIN },
			{ .fd = out_fd }, /* POLLERR: closed at the other end */
			{ .fd = quiet > 0 ? -1 : account_fd(s->fs.account), .events = POLLIN },
		};

		if (poll(p, ARRAY_LEN(p), quiet > 0 ? (int)quiet : -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents || p[1].revents || p[2].revents)
			break;
		if (!p[3].revents || !account_take(s->fs.account, &stats))
			continue;
		feeder_say_feed(out_fd, &stats);
		told = mono_now();
	}
}

static void tell_last(struct server *s, int out_fd)
{
	struct feed_stats stats;

	if (account_take(s->fs.account, &stats))
		feeder_say_feed(out_fd, &stats);
}

/* ---- all of it ---- */

static int check_order(const struct feeder_order *o, struct err *e)
{
	if (o->lines || o->gzip || o->record_io)
		return err_set(e, ERR_INVALID, "FastFile gives objects as they are");
	if (o->list_fd < 0 || o->fuse_fd < 0 || (o->place == PLACE_EMBEDDED && o->objects_fd < 0))
		return err_set(e, ERR_INVALID, "a descriptor is missing");
	if (o->order.share_count == 0)
		return err_set(e, ERR_INVALID, "share_count is 0");
	return 0;
}

static int open_store(struct server *s, uint32_t files, struct err *e)
{
	const struct feeder_order *o = &s->order;
	struct remote_options options = { .tree = s->fs.tree,
		                          .s3 = &o->s3,
		                          .bucket = o->bucket,
		                          .cache_bytes = CACHE_BYTES,
		                          .threads = GETS,
		                          .patience_s = PATIENCE_S,
		                          .answer = fs_answer,
		                          .arg = &s->fs };

	if (o->place == PLACE_REMOTE)
		return fuse_remote_new(&options, &s->fs.remote, e);
	files = files > FILES_SPARE * 2 ? files - FILES_SPARE : files / 2;
	s->fs.files = files_new(s->fs.tree, o->objects_fd, files < FILES_MAX ? files : FILES_MAX, o->bucket);
	return 0;
}

static int prepare(struct server *s, int in_fd, int out_fd, struct err *e)
{
	const struct feeder_order *o = &s->order;
	uint32_t files;
	bool embedded;

	s->fs.out_fd = out_fd;
	if (feeder_order_read(in_fd, &s->order, e) < 0 || check_order(o, e) < 0)
		return err_in(e, "the work order");
	embedded = o->place == PLACE_EMBEDDED;
	if (confine_reader(embedded ? o->objects_fd : -1, embedded && passthrough_built(), &files, e) < 0 ||
	    tree_new(o, &s->fs.tree, e) < 0)
		return -1;
	s->fs.account = account_new(tree_nodes(s->fs.tree));
	return open_store(s, files, e);
}

/* SIGTERM and its like are for tell() alone; threads inherit that they are blocked. */
static int take_signals(void)
{
	struct sigaction wake = { .sa_handler = interrupt };
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGUSR1, &wake, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve(struct server *s, int in_fd, int out_fd, struct err *e)
{
	_cleanup_close_ int signals = take_signals();

	if (prepare(s, in_fd, out_fd, e) < 0 || start_session(s, e) < 0 || start_threads(s, e) < 0)
		return -1;
	feeder_say_ready(out_fd);
	tell(s, out_fd, signals);
	end_threads(s);
	remote_free(take_ptr(s->fs.remote)); /* answers what is being waited for */
	tell_last(s, out_fd);
	return 0;
}

int fastfile_main(int in_fd, int out_fd)
{
	struct server s = { .ended = { -EBADF, -EBADF }, .order.fuse_fd = -1, .order.list_fd = -1 };
	struct err e = { 0 };
	int rc;

	/* Pieces of the cache come and go on many threads: what is large goes back at once. */
	mallopt(M_ARENA_MAX, 4);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	crew_init(&s.crew, LISTENERS);
	s.fs.crew = &s.crew;
	rc = serve(&s, in_fd, out_fd, &e);

	if (rc < 0)
		feeder_say_error(out_fd, &e);
	end_threads(&s);
	remote_free(s.fs.remote); /* answers what is being waited for */
	if (s.session)
		fuse_session_destroy(s.session); /* closes /dev/fuse: the file system is gone */
	passthrough_free(s.fs.passthrough);
	files_free(s.fs.files);
	account_free(s.fs.account);
	tree_free(s.fs.tree);
	cleanup_closep(&s.ended[0]);
	cleanup_closep(&s.ended[1]);
	crew_fini(&s.crew);
	feeder_order_fini(&s.order);
	return rc < 0;
}
