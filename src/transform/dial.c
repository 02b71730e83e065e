/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/dial.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

void dialer_init(struct dialer *d, int fd)
{
	d->fd = fd;
	pthread_mutex_init(&d->mu, NULL);
}

void dialer_fini(struct dialer *d)
{
	pthread_mutex_destroy(&d->mu);
}

static int ask(int fd, unsigned char container, struct err *e)
{
	ssize_t n;

	do
		n = send(fd, &container, 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : err_sys(e, "asking for a socket in the container's network");
}

static int hear(int fd, struct err *e)
{
	char byte, room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(__alignof__(struct cmsghdr))));
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *c;
	ssize_t n;
	int got;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "waiting for a socket in the container's network");
	if (n == 0)
		return err_set(e, ERR_IO, "who makes sockets in the container's network is gone");
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(sizeof(int)))
		return err_set(e, ERR_TRAINER, "the container has no network any more");
	memcpy(&got, CMSG_DATA(c), sizeof(got));
	return got;
}

int dial(struct dialer *d, unsigned container, struct err *e)
{
	int rc;

	pthread_mutex_lock(&d->mu);
	rc = ask(d->fd, (unsigned char)container, e);
	if (rc == 0)
		rc = hear(d->fd, e);
	pthread_mutex_unlock(&d->mu);
	return rc;
}
