/* One exchange with the kernel. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "net/inside.h"

enum { ANSWER_BYTES = 32768, DUMPS = 100 };

int nl_open(struct nl *nl, int family, struct err *e)
{
	nl->socket = mnl_socket_open2(family, SOCK_CLOEXEC);
	if (!nl->socket)
		return err_sys(e, "opening a netlink socket");
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		err_sys(e, "binding a netlink socket");
		nl_close(nl);
		return -1;
	}
	nl->seq = 0;
	return 0;
}

void nl_close(struct nl *nl)
{
	if (nl->socket)
		mnl_socket_close(nl->socket);
	nl->socket = NULL;
}

struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(nl->bytes);

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	m->nlmsg_seq = ++nl->seq;
	return m;
}

static bool is_last(const char *bytes, ssize_t n)
{
	const struct nlmsghdr *m = (const struct nlmsghdr *)(const void *)bytes;
	int left = (int)n;

	for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
		if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
			return true;
	return false;
}

/* mnl_cb_run() says MNL_CB_STOP at an acknowledgement or the end of a dump, and fails with the kernel's errno. EINTR is
 * a dump in whose middle something was changed: what is left of it is taken off the socket, and of no use. */
static int take_answer(struct nl *nl, mnl_cb_t fn, void *arg)
{
	char *bytes = xcalloc(1, ANSWER_BYTES);
	int rc = MNL_CB_OK, why = 0;

	while (rc > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, bytes, ANSWER_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n >= 0 && why == EINTR) {
			rc = is_last(bytes, n) ? MNL_CB_STOP : MNL_CB_OK;
			continue;
		}
		rc = n < 0 ? -1 : mnl_cb_run(bytes, (size_t)n, nl->seq, mnl_socket_get_portid(nl->socket), fn, arg);
		why = rc < 0 ? errno : 0;
		if (n >= 0 && why == EINTR && !is_last(bytes, n))
			rc = MNL_CB_OK;
	}
	free(bytes);
	return why;
}

int nl_talk(struct nl *nl, struct nlmsghdr *m, mnl_cb_t fn, void *arg)
{
	bool dump = (m->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	int why = EINTR;

	if (!dump)
		m->nlmsg_flags |= NLM_F_ACK;
	for (unsigned i = 0; why == EINTR && i < (dump ? DUMPS : 1); i++) {
		m->nlmsg_seq = i ? ++nl->seq : m->nlmsg_seq;
		if (mnl_socket_sendto(nl->socket, m, m->nlmsg_len) < 0)
			return errno;
		why = take_answer(nl, fn, arg);
	}
	return why;
}

int nl_send(struct nl *nl, const void *bytes, size_t n)
{
	if (mnl_socket_sendto(nl->socket, bytes, n) < 0)
		return errno;
	return take_answer(nl, NULL, NULL);
}
