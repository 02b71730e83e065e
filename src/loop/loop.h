/* loop.h - one thread's event loop: descriptors, timers, child and foreign processes, signals, a mailbox.
 *
 * One loop per thread. Callbacks run on the loop's thread, always from loop_run, never from the call that registered
 * them. A source is freed by its _free call, also from inside any callback of the same loop. Nothing here polls.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <signal.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/str.h"

struct loop;
struct loop_source; /* what every *_add returns; owned by the caller, freed with loop_source_free */

struct loop *loop_new(void);
void loop_free(struct loop *l); /* NULL is fine; sources left are freed */
DEFINE_CLEANUP(struct loop, loop_free)
int loop_run(struct loop *l, struct err *e) must_check; /* until loop_stop */
void loop_stop(struct loop *l);
void loop_source_free(struct loop_source *s); /* NULL is fine; does not close the descriptor */

/* events: EPOLLIN | EPOLLOUT. fd is borrowed; free the source before closing it. NULL with errno when fd cannot be
 * watched (a regular file). */
struct loop_source *loop_fd(struct loop *l, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg);
void loop_fd_events(struct loop_source *s, uint32_t events);
/* First after first_ms, then every every_ms (0: once; the source stays until freed and can be set again). */
struct loop_source *loop_timer(struct loop *l, int64_t first_ms, int64_t every_ms, void (*fn)(void *arg), void *arg);
void loop_timer_set(struct loop_source *s, int64_t first_ms, int64_t every_ms); /* first_ms < 0: off */
/* A child: fn gets waitid's code and status. A process that is not ours: code = -1 when it has gone. pid must not have
 * been reaped. NULL with errno when there is no such process. */
struct loop_source *loop_process(struct loop *l, pid_t pid, bool child, void (*fn)(void *arg, int code, int status),
                                 void *arg);
/* Blocks the signal for the thread and delivers it here. Threads made earlier must have it blocked too. It stays
 * blocked after the source is freed. */
struct loop_source *loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg);
/* Runs fn(arg) on the loop's thread and waits until it has; from the loop's own thread it runs at once. Thread-safe.
 * What arrives after loop_stop waits for the next loop_run, or for loop_free, which runs what is left: so end the
 * threads that call while the loop still runs, and stop it then. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
/* The same without waiting. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* Splits what a descriptor delivers into lines. A line is handed over with its '\n' stripped. `whole` says that the
 * '\n' was there: it is false for the pieces of a line longer than max_bytes, its last one excepted, and for a last
 * line without '\n'. The bytes are valid during fn only. */
struct line_reader;
struct line_reader *line_reader_new(size_t max_bytes, void (*fn)(void *arg, struct str line, bool whole), void *arg);
void line_reader_free(struct line_reader *r);
void line_reader_feed(struct line_reader *r, struct str bytes);
void line_reader_flush(struct line_reader *r); /* hands over what is left */

/* vfork+exec without a shell. argv[0] is the path. Descriptors in `keep` survive at the same numbers, all others above
 * 2 are closed; stdio from in/out/err_fd (-1: /dev/null). A failure to execute is returned, not left to the child's
 * status. The child gets PR_SET_PDEATHSIG SIGKILL when die_with_parent, its own session when setsid, default signal
 * dispositions and an empty signal mask; envp NULL: environ. */
struct spawn_options {
	const char *path; /* what to execute; NULL: argv[0] */
	const char *const *argv, *const *envp;
	int in, out, err_fd;
	const int *keep;
	size_t keep_count;
	bool die_with_parent, setsid;
	const char *cwd; /* NULL: unchanged */
};
int spawn(const struct spawn_options *o, pid_t *ret_pid, struct err *e) must_check;
/* spawn and wait; *ret_status as waitpid. Output of both streams (up to max_out bytes, rest thrown away) to out if not
 * NULL. For short helpers only: blocks. */
int spawn_wait(const struct spawn_options *o, struct buf *out, size_t max_out, int *ret_status,
               struct err *e) must_check;

/* For a daemon started with --ready-fd: says that it serves, closes the descriptor, and from then on gets SIGTERM when
 * the process that started it dies. fd < 0: nobody is to be told, and nothing is done. */
int tell_ready(int fd, const char *line, struct err *e) must_check;
