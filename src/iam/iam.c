/* The roles, and what they may. SPDX-License-Identifier: Apache-2.0 */
#include "iam/iam.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "iam/inside.h"

enum { KEY_FILE_MAX = 256 };

/* ---- the key ---- */

static int make_key(int dir, unsigned char key[SHA256_BYTES], struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	int rc;

	random_bytes(key, SHA256_BYTES);
	buf_need(&text, 2 * SHA256_BYTES + 1); /* one piece of memory, to be wiped */
	buf_hex(&text, key, SHA256_BYTES);
	buf_c(&text, '\n');
	rc = file_write_atomic(dir, "session-key", buf_view(&text), 0600, true, e);
	explicit_bzero(text.p, text.n);
	return rc < 0 ? err_in(e, "making the key of sessions") : 0;
}

static int read_key(const char *data_dir, unsigned char key[SHA256_BYTES], struct err *e)
{
	_cleanup_close_ int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	struct err why = { 0 };
	bool good;

	if (dir < 0)
		return err_sys(e, "opening %s", data_dir);
	buf_need(&text, KEY_FILE_MAX);
	if (file_read_plain(dir, "session-key", KEY_FILE_MAX, &text, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return make_key(dir, key, e);
		*e = why;
		return err_in(e, "reading the key of sessions");
	}
	good = unhex(str_trim(buf_view(&text)), key, SHA256_BYTES);
	explicit_bzero(text.p, text.n);
	if (!good)
		return err_set(e, ERR_INVALID,
		               "%s/session-key is to be 64 hex digits; remove it to have a new key made (sessions of "
		               "running jobs end with the old one)",
		               data_dir);
	/* A copy that was put here may be anybody's to read. */
	if (fchmodat(dir, "session-key", 0600, 0) < 0)
		return err_sys(e, "%s/session-key", data_dir);
	return 0;
}

void iam_derive(const struct iam *m, const char *label, struct str text, unsigned char out[SHA256_BYTES])
{
	_cleanup_buf_ struct buf all = { 0 };

	buf_f(&all, "bloomery %s\n", label);
	buf_str(&all, text);
	hmac_sha256((struct str){ (const char *)m->key, sizeof(m->key) }, buf_view(&all), out);
}

/* ---- the roles ---- */

static int read_role(struct iam *m, const struct conf_role *r, struct err *e)
{
	struct iam_role *role = &m->roles[m->role_count];

	if (!r->arn) {
		if (policy_read(r->file, &m->otherwise, e) < 0)
			return err_in(e, "%s: default_role_policy", r->where);
		return 0;
	}
	if (policy_read(r->file, &role->policy, e) < 0)
		return err_in(e, "%s: role.%s", r->where, r->arn);
	role->arn = xstrdup(r->arn);
	m->role_count++;
	return 0;
}

int iam_open(const struct conf *c, const char *data_dir, struct iam **ret, struct err *e)
{
	_cleanup_(iam_closep) struct iam *m = xcalloc(1, sizeof(*m));

	m->strict = !strcmp(c->roles, "strict");
	m->roles = xcalloc(c->role_count + 1, sizeof(*m->roles));
	for (size_t i = 0; i < c->role_count; i++)
		if (read_role(m, &c->role[i], e) < 0)
			return -1;
	if (read_key(data_dir, m->key, e) < 0)
		return -1;
	*ret = take_ptr(m);
	return 0;
}

void iam_close(struct iam *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->role_count; i++) {
		free(m->roles[i].arn);
		policy_free(m->roles[i].policy);
	}
	free(m->roles);
	policy_free(m->otherwise);
	explicit_bzero(m->key, sizeof(m->key));
	free(m);
}

void iam_set_hooks(struct iam *m, const struct iam_hooks *hooks)
{
	m->hooks = *hooks;
}

const struct iam_role *iam_role(const struct iam *m, struct str arn)
{
	for (size_t i = 0; i < m->role_count; i++)
		if (str_is(arn, m->roles[i].arn))
			return &m->roles[i];
	return NULL;
}

bool iam_knows_role(const struct iam *m, struct str role)
{
	return !m->strict || iam_role(m, role);
}

/* NULL: the built-in default. */
static const struct policy *policy_of(const struct iam *m, struct str role)
{
	const struct iam_role *r = iam_role(m, role);

	return r ? r->policy : m->otherwise;
}

bool iam_has_policy(const struct iam *m, struct str role)
{
	return !iam_knows_role(m, role) || policy_of(m, role);
}

enum policy_verdict iam_ask_role(const struct iam *m, struct str role, struct str action, struct str resource)
{
	const struct policy *p = policy_of(m, role);

	if (!iam_knows_role(m, role))
		return POLICY_SILENT;
	return p ? policy_ask(p, action, resource) : POLICY_ALLOWS;
}

/* ---- what a session may ---- */

static bool reads(struct str action)
{
	return str_starts(action, STR("s3:Get")) || str_starts(action, STR("s3:List"));
}

static bool default_allows(const struct iam *m, const struct iam_session *s, const struct iam_wish *w)
{
	struct str key = w->resource, bucket;

	if (str_is(w->action, "iam:PassRole") || str_is(w->action, "sts:AssumeRole"))
		return !iam_role(m, w->resource);
	if (str_is(w->action, "sagemaker:DeleteTrainingJob") || str_is(w->action, "bloomery:RefitMetrics"))
		return false;
	if (!str_starts(w->action, STR("s3:")) || !str_skip(&key, STR("arn:aws:s3:::")))
		return true;
	bucket = str_cut(&key, '/');
	if (!key.n)
		key = w->prefix;
	if (!key.n)
		return true;
	return m->hooks.others_output &&
	       !m->hooks.others_output(m->hooks.arg, s->job_id, reads(w->action), bucket, key);
}

bool iam_job_may_read(const struct iam *m, const char *job_id, struct str bucket, struct str key)
{
	return m->hooks.others_output && !m->hooks.others_output(m->hooks.arg, job_id, true, bucket, key);
}

/* Of S3 the resource stands in quotes, of the others bare: both as the services write it. */
void iam_say_denied(const char *who, const struct iam_wish *w, enum policy_verdict why, struct buf *out)
{
	const char *quote = str_starts(w->action, STR("s3:")) ? "\"" : "";

	buf_f(out, "User: %s is not authorized to perform: " PRIstr " on resource: %s" PRIstr "%s", who,
	      ARGstr(w->action), quote, ARGstr(w->resource), quote);
	if (why == POLICY_DENIES)
		buf_z(out, " with an explicit deny in an identity-based policy");
	else
		buf_f(out, " because no identity-based policy allows the " PRIstr " action", ARGstr(w->action));
}

bool iam_may(const struct iam *m, const struct iam_session *s, const struct iam_wish *w, struct buf *ret_why)
{
	const struct policy *p = s ? policy_of(m, str_of(s->role)) : NULL;
	enum policy_verdict v;

	if (!s)
		return true;
	v = p ? policy_ask(p, w->action, w->resource) : default_allows(m, s, w) ? POLICY_ALLOWS : POLICY_SILENT;
	if (v == POLICY_ALLOWS)
		return true;
	iam_say_denied(s->arn, w, v, ret_why);
	if (!p)
		buf_z(ret_why, " (the default policy of roles leaves out what belongs to other jobs and roles)");
	return false;
}
