/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/walk.h"

static bool is_refused(const struct refusal *r, const json_t *x)
{
	switch (r->when) {
	case REFUSE_PRESENT: return true;
	case REFUSE_NOT_EMPTY:
		return json_is_array(x) ? json_array_size(x) > 0 : json_is_object(x) ? json_object_size(x) > 0 : true;
	case REFUSE_TRUE: return json_is_true(x);
	case REFUSE_ABOVE: return json_number_value(x) > r->above;
	case REFUSE_OTHER:
		for (const char *const *v = r->allowed; *v; v++)
			if (json_is_string(x) &&
			    str_is((struct str){ json_string_value(x), json_string_length(x) }, *v))
				return false;
		return true;
	}
	return true;
}

/* path holds what has been gone down already, as the API spells it: "InputDataConfig[0].". */
static int refuse(const struct refusal *r, struct str rest, const json_t *x, struct buf *path, struct err *e)
{
	struct str name;
	size_t at = path->n, i;
	bool list;
	json_t *v;

	if (!rest.n) {
		_cleanup_buf_ struct buf value = { 0 };

		if (!is_refused(r, x))
			return 0;
		if (!json_is_object(x) && !json_is_array(x)) {
			buf_z(&value, " (");
			say_value(x, &value);
			buf_c(&value, ')');
		}
		return err_set(e, ERR_INVALID, "%s%s is refused: %s", path->p, value.p ? value.p : "", r->reason);
	}
	name = str_cut(&rest, '.');
	list = str_ends(name, STR("[]"));
	name.n -= list ? 2 : 0;
	x = json_object_getn(x, name.p, name.n);
	if (!x)
		return 0;
	buf_f(path, "%s" PRIstr, path->n ? "." : "", ARGstr(name));
	if (!list) {
		if (refuse(r, rest, x, path, e) < 0)
			return -1;
	} else {
		size_t after_name = path->n;

		json_array_foreach (x, i, v) {
			buf_f(path, "[%zu]", i);
			if (refuse(r, rest, v, path, e) < 0)
				return -1;
			path->n = after_name;
			path->p[path->n] = 0;
		}
	}
	path->n = at;
	path->p[at] = 0;
	return 0;
}

int model_refuse_next(const struct operation *op, const json_t *in, size_t *at, struct err *e)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_init(&path);
	while (*at < op->refusal_count) {
		const struct refusal *r = &op->refusals[(*at)++];

		if (refuse(r, str_of(r->path), in, &path, e) < 0)
			return -1;
	}
	return 0;
}

int model_refuse(const struct operation *op, const json_t *in, struct err *e)
{
	size_t at = 0;

	return model_refuse_next(op, in, &at, e);
}
