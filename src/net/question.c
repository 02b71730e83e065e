/* Questions and answers of one datagram each: DNS. SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "net/relay.h"

enum { DATAGRAM_BYTES = 65536, ANSWER_MS = 10000 };

struct question {
	struct relay *relay;
	struct question *prev, *next;
	int fd;
	struct loop_source *source, *limit;
	struct sockaddr_in from;
};

void question_free(struct question *q)
{
	if (q->next)
		q->next->prev = q->prev;
	if (q->prev)
		q->prev->next = q->next;
	else
		q->relay->questions = q->next;
	q->relay->proxy->question_count--;
	loop_source_free(q->source);
	loop_source_free(q->limit);
	cleanup_closep(&q->fd);
	free(q);
}

static void on_answer(void *arg, uint32_t events)
{
	struct question *q = arg;
	char bytes[DATAGRAM_BYTES];
	ssize_t n = recv(q->fd, bytes, sizeof(bytes), 0);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* What is lost here is asked again, as it would be anywhere. */
	if (n > 0)
		(void)!sendto(q->relay->fd, bytes, (size_t)n, 0, (const struct sockaddr *)&q->from, sizeof(q->from));
	question_free(q);
}

static void on_limit(void *arg)
{
	question_free(arg);
}

static void ask(struct relay *r, const char *bytes, size_t n, const struct sockaddr_in *from)
{
	_cleanup_close_ int fd = socket(r->to.to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct question *q;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&r->to.to, r->to.bytes) < 0 || send(fd, bytes, n, 0) < 0)
		return;
	q = xcalloc(1, sizeof(*q));
	q->relay = r;
	q->from = *from;
	q->next = r->questions;
	if (q->next)
		q->next->prev = q;
	r->questions = q;
	r->proxy->question_count++;
	q->fd = take_fd(fd);
	q->source = loop_fd(r->proxy->loop, q->fd, EPOLLIN, on_answer, q);
	q->limit = loop_timer(r->proxy->loop, ANSWER_MS, 0, on_limit, q);
	if (!q->source || !q->limit)
		question_free(q);
}

void on_questions(void *relay, uint32_t events)
{
	struct relay *r = relay;
	char bytes[DATAGRAM_BYTES];
	struct sockaddr_in from;

	(void)events;
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(r->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0 && len == sizeof(from) && r->proxy->question_count < PROXY_QUESTIONS)
			ask(r, bytes, (size_t)n, &from);
	}
}
