/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/negotiate.h"

#include <poll.h>

enum { PING_MS = 2000, PING_FIRST_MS = 4, PING_EVERY_MS = 250, PARAMETERS_MS = 10000, OK = 200 };

int negotiate_ping(struct poster *p, const char *name, struct mono begin, unsigned timeout_s, int stop_fd,
                   struct err *e)
{
	_cleanup_buf_ struct buf body = { 0 };
	struct pollfd stop = { .fd = stop_fd, .events = POLLIN };
	int wait_ms = PING_FIRST_MS; /* most are there within a moment */

	for (;;) {
		struct err why = { 0 };
		int status = 0, rc = poster_get(p, "/ping", PING_MS, &status, &body, &why);
		char text[ERR_FRAMES * ERR_FRAME_BYTES];

		if (rc == 0 && status == OK)
			return 0;
		if (mono_ms_since(begin) >= (int64_t)timeout_s * 1000) {
			_cleanup_free_ char *last = rc == 0 ? strf("GET /ping was answered with %d", status)
			                                    : xstrdup(err_text(&why, text, sizeof(text)));

			return err_set(e, ERR_TRAINER, "%s did not become healthy within %u s; at last: %s", name,
			               timeout_s, last);
		}
		if (poll(&stop, 1, wait_ms) > 0)
			return err_set(e, ERR_IO, "cancelled");
		wait_ms = wait_ms * 2 < PING_EVERY_MS ? wait_ms * 2 : PING_EVERY_MS;
	}
}

void negotiate_parameters(struct poster *p, struct buf *ret_answer)
{
	int status = 0;

	if (poster_get(p, "/execution-parameters", PARAMETERS_MS, &status, ret_answer, NULL) < 0 || status != OK)
		buf_reset(ret_answer);
}
