/* What bloomeryd wants of the host: asked for by long polls, handed to the supervisor's socket.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "alone/inside.h"
#include "base/log.h"
#include "jobdir/hostlink.h"

/* bloomeryd leaves us waiting for at most 20 seconds. */
enum { IDLE_S = 30, AGAIN_MS = 200, ANSWER_MS = 5000 };

enum word { WORD_NONE, WORD_GO, WORD_PEER, WORD_STOP };

struct orders {
	struct wire wire;
	int dir_fd;
	pthread_t thread;
	enum word word, told; /* the thread's */
	uint64_t seen;
	struct { /* hold mu */
		pthread_mutex_t mu;
		pthread_cond_t change;
		json_t *peers;
		char *over; /* why nothing is wanted of us */
		bool stop;
		bool ending; /* read without mu, atomically */
	} shared;
};

static bool is_ending(void *arg)
{
	struct orders *o = arg;

	return __atomic_load_n(&o->shared.ending, __ATOMIC_RELAXED);
}

/* ---- the supervisor's socket ---- */

static int dial(const struct orders *o)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = ANSWER_MS / 1000 };

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/sock", o->dir_fd);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return take_fd(fd);
}

static bool tell(const struct orders *o, enum word word)
{
	_cleanup_close_ int fd = dial(o);
	json_t *msg = word == WORD_GO ? json_pack("{ss}", "t", "go")
	                              : json_pack("{ss ss*}", "t", "stop", "why", word == WORD_PEER ? "peer" : NULL);
	json_t *answer = NULL;
	bool ok = fd >= 0 && hostlink_send(fd, msg, NULL) == 0 && hostlink_recv(fd, &answer, NULL) > 0;

	ok = ok && str_is(str_of(json_string_value(json_object_get(answer, "t"))), "ok");
	json_decref(answer);
	json_decref(msg);
	return ok;
}

/* ---- the thread ---- */

/* False: it is the version that we had. */
static bool take(struct orders *o, json_t *j)
{
	uint64_t had = o->seen;
	struct str order = str_of(json_string_value(json_object_get(j, "order")));
	json_t *peers = json_object_get(j, "peers");
	enum word word = WORD_NONE;

	o->seen = (uint64_t)json_integer_value(json_object_get(j, "version"));
	if (str_is(order, "go"))
		word = WORD_GO;
	else if (str_is(order, "stop"))
		word = str_is(str_of(json_string_value(json_object_get(j, "why"))), "peer") ? WORD_PEER : WORD_STOP;
	if (word > o->word)
		o->word = word;
	pthread_mutex_lock(&o->shared.mu);
	if (json_is_array(peers) && !o->shared.peers)
		o->shared.peers = json_incref(peers);
	o->shared.stop |= o->word >= WORD_PEER;
	pthread_cond_broadcast(&o->shared.change);
	pthread_mutex_unlock(&o->shared.mu);
	return o->seen != had;
}

static void note_over(struct orders *o, const struct err *why)
{
	log_err(LOG_INFO, why, "nothing is wanted of this host any more");
	o->word = WORD_STOP;
	pthread_mutex_lock(&o->shared.mu);
	free(o->shared.over);
	o->shared.over = xstrdup(why->frame[0]);
	o->shared.stop = true;
	pthread_cond_broadcast(&o->shared.change);
	pthread_mutex_unlock(&o->shared.mu);
}

/* Each of the two may have to wait for the other side; a supervisor that is not there yet is tried again soon. */
static void *ask(void *arg)
{
	struct orders *o = arg;
	bool over = false;

	while (!is_ending(o)) {
		_cleanup_free_ char *path = strf("orders?seen=%llu", (unsigned long long)o->seen);
		struct wire_request q = {
			.method = "GET", .path = path, .body_fd = -EBADF, .to_fd = -EBADF, .idle_s = IDLE_S
		};
		struct err e = { 0 };
		json_t *j = NULL;

		if (o->word > o->told) {
			if (tell(o, o->word))
				o->told = o->word;
			else
				q.path = "orders?seen=0", poll(NULL, 0, AGAIN_MS);
		} else if (over) {
			poll(NULL, 0, AGAIN_MS);
		}
		if (over)
			continue;
		if (wire_call(&o->wire, &q, &j, &e) == 0) {
			if (!take(o, j)) /* what is new will wait for us; what is not, bloomeryd may say at once */
				poll(NULL, 0, AGAIN_MS);
			json_decref(j);
		} else if (e.kind == ERR_DENIED) {
			over = true;
			note_over(o, &e);
		} else if (e.kind != ERR_BUSY) {
			log_err(LOG_WARN, &e, "asking for orders");
			poll(NULL, 0, AGAIN_MS);
		}
	}
	return NULL;
}

struct orders *orders_new(const struct job_spec *s, int job_dirfd)
{
	struct orders *o = xcalloc(1, sizeof(*o));
	sigset_t all, old;

	wire_init(&o->wire, s, is_ending, o);
	o->dir_fd = job_dirfd;
	pthread_mutex_init(&o->shared.mu, NULL);
	pthread_cond_init(&o->shared.change, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	must(pthread_create(&o->thread, NULL, ask, o) == 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return o;
}

void orders_free(struct orders *o)
{
	if (!o)
		return;
	__atomic_store_n(&o->shared.ending, true, __ATOMIC_RELAXED);
	pthread_join(o->thread, NULL);
	wire_fini(&o->wire);
	json_decref(o->shared.peers);
	free(o->shared.over);
	pthread_cond_destroy(&o->shared.change);
	pthread_mutex_destroy(&o->shared.mu);
	free(o);
}

bool orders_stop(struct orders *o)
{
	bool stop;

	pthread_mutex_lock(&o->shared.mu);
	stop = o->shared.stop;
	pthread_mutex_unlock(&o->shared.mu);
	return stop;
}

bool orders_over(struct orders *o, char **ret_why)
{
	bool over;

	pthread_mutex_lock(&o->shared.mu);
	over = o->shared.over;
	if (over)
		*ret_why = xstrdup(o->shared.over);
	pthread_mutex_unlock(&o->shared.mu);
	return over;
}

int orders_peers(struct orders *o, json_t **ret, struct err *e)
{
	pthread_mutex_lock(&o->shared.mu);
	while (!o->shared.peers && !o->shared.stop)
		pthread_cond_wait(&o->shared.change, &o->shared.mu);
	*ret = o->shared.stop ? NULL : json_incref(o->shared.peers);
	pthread_mutex_unlock(&o->shared.mu);
	return *ret ? 0 : err_set(e, ERR_BUSY, "the host is to stop");
}
