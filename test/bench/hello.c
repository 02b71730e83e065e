/* hello.c - the peer for requests a second: a bare libmicrohttpd server that answers every request with the same bytes.
 * usage: hello THREADS BYTES; prints its port. SPDX-License-Identifier: Apache-2.0 */
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct MHD_Response *reply;

static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *body, size_t *body_bytes, void **ctx)
{
	static int seen;

	(void)cls, (void)url, (void)method, (void)version, (void)body;
	if (!*ctx) {
		*ctx = &seen;
		return MHD_YES;
	}
	if (*body_bytes) {
		*body_bytes = 0;
		return MHD_YES;
	}
	return MHD_queue_response(c, 200, reply);
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
	size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 5;
	char *text = calloc(1, bytes + 1);
	struct MHD_Daemon *d;
	sigset_t set;
	int sig;

	if (!text)
		return 1;
	memset(text, 'x', bytes);
	reply = MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
	d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL, MHD_OPTION_THREAD_POOL_SIZE,
	                     threads, MHD_OPTION_END);
	if (!d)
		return 1;
	printf("%d\n", MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigwait(&set, &sig);
	MHD_stop_daemon(d);
	MHD_destroy_response(reply);
	return 0;
}
