/* bloomery-proxy: relays what comes by sockets inside of a container's network; see net/proxy.h. Started by
 * bloomery-job.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/log.h"
#include "net/proxy.h"

static int usage(void)
{
	fputs("usage: bloomery-proxy tcp|udp FD ADDRESS:PORT ...\n"
	      "Relays each socket, which is inherited, to its address, without privileges.\n",
	      stderr);
	return 2;
}

static bool relay_of(char **word, struct proxy_relay *ret)
{
	uint64_t fd;

	if (strcmp(word[0], "tcp") != 0 && strcmp(word[0], "udp") != 0)
		return false;
	if (!str_to_u64(str_of(word[1]), &fd) || fd > 1 << 20)
		return false;
	ret->fd = (int)fd;
	ret->datagrams = word[0][0] == 'u';
	return proxy_address_parse(str_of(word[2]), &ret->to);
}

int main(int argc, char **argv)
{
	struct proxy_relay relays[PROXY_RELAYS];
	size_t count = (size_t)(argc - 1) / 3;
	struct err e = { 0 };
	struct loop *l;
	struct proxy *p;
	int rc;

	if (argc < 4 || (argc - 1) % 3 || count > PROXY_RELAYS)
		return usage();
	for (size_t i = 0; i < count; i++)
		if (!relay_of(argv + 1 + 3 * i, &relays[i]))
			return usage();
	log_init("bloomery-proxy", LOG_INFO);
	rc = proxy_confine(&e);
	if (rc == 0) {
		l = loop_new();
		p = proxy_new(l, relays, count);
		rc = loop_run(l, &e);
		proxy_free(p);
		loop_free(l);
	}
	if (rc < 0)
		err_print(&e, "bloomery-proxy");
	return rc < 0;
}
