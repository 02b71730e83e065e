/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <poll.h>

#include "cli/access.h"
#include "cli/commands.h"

enum { AGAIN_MS = 250 };

static int get(const struct cli_args *a, struct access *s, struct buf *out, struct err *e)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_z(&path, "/bloomery/jobs/");
	buf_uri(&path, str_of(a->rest[1]), false);
	buf_z(&path, "/hosts/");
	buf_uri(&path, str_of(a->rest[2]), false);
	buf_z(&path, "/spec");
	return access_get(s, path.p, out, e);
}

static int print_spec(struct str text, const char *address, struct err *e)
{
	json_t *spec = json_loadb(text.p, text.n, 0, NULL);

	if (!json_is_object(spec)) {
		json_decref(spec);
		return err_set(e, ERR_IO, "the server's answer is no work order");
	}
	if (address)
		json_object_set_new(spec, "address", json_string(address));
	print_json(spec);
	json_decref(spec);
	return fflush(stdout) < 0 ? err_sys(e, "printing") : EXIT_DONE;
}

int command_host(const struct cli_args *a, struct err *e)
{
	const char *address = cli_text(a, "address", NULL);
	_cleanup_access_ struct access s = { 0 };
	_cleanup_buf_ struct buf spec = { 0 };
	struct in_addr in;

	if (strcmp(a->rest[0], "spec") != 0)
		return err_set(e, ERR_INVALID, "host %s: there is only `host spec`", a->rest[0]);
	if (address && inet_pton(AF_INET, address, &in) != 1)
		return err_set(e, ERR_INVALID, "--address %s: it is not an IPv4 address", address);
	if (access_open(a, &s, e) < 0)
		return -1;
	while (get(a, &s, &spec, e) < 0) {
		if (!cli_flag(a, "wait") || !str_starts(str_of(e->frame[0]), STR("NotReady")))
			return -1;
		*e = (struct err){ 0 };
		poll(NULL, 0, AGAIN_MS);
	}
	return print_spec(buf_view(&spec), address, e);
}
