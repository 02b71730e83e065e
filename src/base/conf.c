/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"

#include <stdlib.h>

#include "base/fd.h"

enum { CONF_MAX_BYTES = 1 << 20 };

static char **conf_slot(struct conf *c, struct str key)
{
#define X(name, value, meaning) \
	if (str_is(key, #name)) \
		return &c->name;
	CONF_KEYS(X)
#undef X
	return NULL;
}

void conf_init(struct conf *c)
{
#define X(name, value, meaning) c->name = xstrdup(value);
	CONF_KEYS(X)
#undef X
}

void conf_fini(struct conf *c)
{
#define X(name, value, meaning) free(c->name);
	CONF_KEYS(X)
#undef X
	*c = (struct conf){ 0 };
}

static int conf_line(struct conf *c, struct str line, const char *path, int n, struct err *e)
{
	struct str rest = line, key = str_trim(str_cut(&rest, '='));
	char **slot = conf_slot(c, key);

	if (key.n == line.n)
		return err_set(e, ERR_INVALID, "%s:%d: '" PRIstr "' is not `key = value`", path, n, ARGstr(line));
	if (!slot)
		return err_set(e, ERR_INVALID, "%s:%d: there is no setting '" PRIstr "'", path, n, ARGstr(key));
	free(*slot);
	*slot = str_dup(str_trim(rest));
	return 0;
}

int conf_read(struct conf *c, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct err probe = { 0 };
	struct str rest;

	if (file_read(path, CONF_MAX_BYTES, &text, &probe) < 0) {
		if (probe.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = probe;
		return -1;
	}
	rest = buf_view(&text);
	for (int n = 1; rest.n; n++) {
		struct str line = str_trim(str_cut(&rest, '\n'));

		if (line.n && line.p[0] != '#' && conf_line(c, line, path, n, e) < 0)
			return -1;
	}
	return 0;
}
