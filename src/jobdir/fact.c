/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/jobdir.h"

#include <stdlib.h>

const char *const fact_name[FACT_COUNT] = {
#define X(fact, event) [FACT_##fact] = #fact,
	JOB_FACTS(X)
#undef X
};

const char *const fact_event[FACT_COUNT] = {
#define X(fact, event) [FACT_##fact] = event,
	JOB_FACTS(X)
#undef X
};

void fact_fini(struct fact *f)
{
	json_decref(f->args);
	f->args = NULL;
}

static bool kind_of(const char *name, enum fact_kind *ret)
{
	for (int k = 0; name && k < FACT_COUNT; k++)
		if (strcmp(name, fact_name[k]) == 0) {
			*ret = (enum fact_kind)k;
			return true;
		}
	return false;
}

static int from_json(const json_t *j, struct fact *ret, struct err *e)
{
	const json_t *n = json_object_get(j, "n"), *at = json_object_get(j, "t");
	json_t *args = json_object_get(j, "args");
	enum fact_kind kind;

	if (!json_is_integer(n) || json_integer_value(n) < 1)
		return err_set(e, ERR_SYNTAX, "a fact without a number \"n\" of 1 or more");
	if (!json_is_integer(at) || json_integer_value(at) < 0 || json_integer_value(at) > FACT_TIME_MAX_MS)
		return err_set(e, ERR_SYNTAX, "fact %lld has no time \"t\"", (long long)json_integer_value(n));
	if (!kind_of(json_string_value(json_object_get(j, "fact")), &kind))
		return err_set(e, ERR_SYNTAX, "fact %lld is of no known kind", (long long)json_integer_value(n));
	if (!json_is_object(args))
		return err_set(e, ERR_SYNTAX, "fact %lld has no object \"args\"", (long long)json_integer_value(n));
	*ret = (struct fact){ .n = (uint64_t)json_integer_value(n),
		              .at.ms = json_integer_value(at),
		              .kind = kind,
		              .args = json_incref(args) };
	return 0;
}

int fact_parse(struct str line, struct fact *ret, struct err *e)
{
	json_error_t why;
	json_t *j;
	int rc;

	if (line.n > FACT_MAX_BYTES)
		return err_set(e, ERR_SYNTAX, "a fact of %zu bytes; the limit is %d", line.n, FACT_MAX_BYTES);
	j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_set(e, ERR_SYNTAX, "a fact is not JSON: column %d: %s", why.column, why.text);
	rc = from_json(j, ret, e);
	json_decref(j);
	return rc;
}

void fact_write(const struct fact *f, struct buf *out)
{
	json_t *j = json_pack("{sIsIsssO}", "n", (json_int_t)f->n, "t", (json_int_t)f->at.ms, "fact",
	                      fact_name[f->kind], "args", f->args);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	must(text); /* args is an object, so only memory can be short */
	buf_z(out, text);
	buf_c(out, '\n');
	free(text);
	json_decref(j);
}

bool job_id_valid(struct str id)
{
	for (size_t i = 0; i < id.n; i++)
		if (!(id.p[i] >= '0' && id.p[i] <= '9') && !(id.p[i] >= 'a' && id.p[i] <= 'f'))
			return false;
	return id.n == 16;
}
