/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/datalog.h"

#include "base/fd.h"

enum { LINES_MAX = 200 };

void datalog_line(struct wall at, struct str object, struct str text, struct buf *ret)
{
	char when[CLOCK_TEXT_BYTES];
	size_t from;

	wall_iso8601(at, when);
	when[strlen(when) - 1] = '\0'; /* the service writes no Z */
	buf_f(ret, "%s:[sagemaker logs]: ", when);
	from = ret->n;
	buf_str(ret, object);
	buf_z(ret, object.n ? ": " : "");
	buf_str(ret, text);
	for (; from < ret->n; from++)
		if ((unsigned char)ret->p[from] < 0x20 && ret->p[from] != '\t')
			ret->p[from] = '?';
	buf_c(ret, '\n');
}

void datalog_write(int fd, struct str object, struct str text)
{
	_cleanup_buf_ struct buf line = { 0 };

	if (fd < 0)
		return;
	datalog_line(wall_now(), object, text, &line);
	(void)!fd_write_all(fd, line.p, line.n, NULL);
}

void datalog_refusal(int fd, struct str object, int status, struct str body)
{
	_cleanup_free_ char *said = strf("Bad HTTP status received from algorithm: %d", status);

	datalog_write(fd, object, str_of(said));
	if (!body.n)
		return;
	datalog_write(fd, object, STR(""));
	datalog_write(fd, object, STR("Message:"));
	for (unsigned n = 0; body.n && n < LINES_MAX; n++) {
		struct str line = str_cut(&body, '\n');

		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		datalog_write(fd, object, line);
	}
}
