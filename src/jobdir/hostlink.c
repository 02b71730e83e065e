/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/hostlink.h"

#include <stdlib.h>
#include <sys/socket.h>

int hostlink_send(int fd, const json_t *msg, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(msg, JSON_COMPACT);
	size_t n;
	ssize_t sent;

	must(text);
	n = strlen(text);
	if (n > HOSTLINK_MAX)
		return err_set(e, ERR_TOO_LARGE, "a message of %zu bytes; the limit is %d", n, HOSTLINK_MAX);
	do
		sent = send(fd, text, n, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return err_set(e, ERR_BUSY, "the other side does not keep up");
	return sent < 0 ? err_sys(e, "sending a message") : 0;
}

static json_t *parse(const char *text, size_t n, struct err *e)
{
	json_error_t why;
	json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why), *v;

	if (!j) {
		err_set(e, ERR_SYNTAX, "a message is not JSON: column %d: %s", why.column, why.text);
		return NULL;
	}
	v = json_object_get(j, "v");
	if (!json_is_string(json_object_get(j, "t")))
		err_set(e, ERR_SYNTAX, "a message without a string \"t\"");
	else if (v && (!json_is_integer(v) || json_integer_value(v) != HOSTLINK_VERSION))
		err_set(e, ERR_INVALID,
		        "the other side speaks another version of the host link than ours, %d; restart both daemons",
		        HOSTLINK_VERSION);
	else
		return j;
	json_decref(j);
	return NULL;
}

int hostlink_recv(int fd, json_t **ret, struct err *e)
{
	_cleanup_free_ char *text = xcalloc(1, HOSTLINK_MAX + 1);
	json_t *j;
	ssize_t n;

	do
		n = recv(fd, text, HOSTLINK_MAX + 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return err_set(e, ERR_BUSY, "nothing there now");
	if (n < 0 && errno != ECONNRESET)
		return err_sys(e, "receiving a message");
	if (n <= 0)
		return 0;
	if (n > HOSTLINK_MAX)
		return err_set(e, ERR_TOO_LARGE, "a message of more than %d bytes", HOSTLINK_MAX);
	j = parse(text, (size_t)n, e);
	if (!j)
		return -1;
	*ret = j;
	return 1;
}
