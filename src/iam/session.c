/* Credentials of sessions, and tokens of hosts: made, and known again. SPDX-License-Identifier: Apache-2.0
 *
 * A token is base64 of a text and its MAC: "1", role, session, job id, host, expiry in ms, and a nonce, each ended by a
 * line feed; then 32 bytes. Nothing of the text is looked at before the MAC is right. */
#include <stdlib.h>

#include "iam/inside.h"

enum { NONCE_BYTES = 12, ID_LETTERS = 16, SECRET_LETTERS = 40 };

struct iam_session *iam_session_ref(const struct iam_session *s)
{
	struct iam_session *own = (struct iam_session *)s;

	if (own)
		__atomic_add_fetch(&own->refs, 1, __ATOMIC_RELAXED);
	return own;
}

void iam_session_unref(struct iam_session *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	explicit_bzero(s->secret, sizeof(s->secret));
	if (s->token)
		explicit_bzero(s->token, strlen(s->token));
	free(s->role);
	free(s->arn);
	free(s->session);
	free(s->job_id);
	free(s->job_name);
	free(s->token);
	free(s);
}

/* arn:aws:iam::ACCOUNT:role/PATH/NAME acts as arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION. */
static char *assumed_arn(struct str role, struct str session)
{
	struct str rest = role, part[5], name;

	for (size_t i = 0; i < ARRAY_LEN(part); i++)
		part[i] = str_cut(&rest, ':');
	name = str_cut_last(&rest, '/');
	return strf("arn:" PRIstr ":sts::" PRIstr ":assumed-role/" PRIstr "/" PRIstr, ARGstr(part[1]), ARGstr(part[4]),
	            ARGstr(name), ARGstr(session));
}

/* Shaped as AWS's are: clients check it. */
static void fill_keys(const struct iam *m, struct str text, struct iam_session *s)
{
	static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	_cleanup_buf_ struct buf secret = { 0 };
	unsigned char raw[SHA256_BYTES];

	iam_derive(m, "access key id", text, raw);
	memcpy(s->id, "ASIA", 4);
	for (size_t i = 0; i < ID_LETTERS; i++)
		s->id[4 + i] = base32[raw[i] % 32];
	iam_derive(m, "secret access key", text, raw);
	buf_need(&secret, 64);
	buf_base64(&secret, raw, sizeof(raw));
	memcpy(s->secret, secret.p, SECRET_LETTERS);
	explicit_bzero(secret.p, secret.n);
	explicit_bzero(raw, sizeof(raw));
}

static bool plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x21 || (unsigned char)s.p[i] > 0x7e)
			return false;
	return true;
}

int iam_mint(const struct iam *m, const struct iam_mint *o, struct iam_session **ret, struct err *e)
{
	_cleanup_(iam_session_unrefp) struct iam_session *s = NULL;
	_cleanup_buf_ struct buf text = { 0 }, token = { 0 };
	unsigned char raw[SHA256_BYTES];

	if (!o->role.n || !o->session.n || !plain(o->role) || !plain(o->session) || !plain(o->job_id) ||
	    o->role.n + o->session.n + o->job_id.n > 4096)
		return err_set(e, ERR_INVALID,
		               "'" PRIstr "' cannot be the role, or '" PRIstr "' the name, of a session",
		               ARGstr(o->role), ARGstr(o->session));
	random_bytes(raw, NONCE_BYTES);
	buf_f(&text, "1\n" PRIstr "\n" PRIstr "\n" PRIstr "\n%u\n%lld\n", ARGstr(o->role), ARGstr(o->session),
	      ARGstr(o->job_id), o->host, (long long)o->expires.ms);
	buf_hex(&text, raw, NONCE_BYTES);
	buf_c(&text, '\n');
	s = xcalloc(1, sizeof(*s));
	*s = (struct iam_session){ .refs = 1,
		                   .role = str_dup(o->role),
		                   .arn = assumed_arn(o->role, o->session),
		                   .session = str_dup(o->session),
		                   .job_id = o->job_id.n ? str_dup(o->job_id) : NULL,
		                   .job_name = o->job_name.n ? str_dup(o->job_name) : NULL,
		                   .host = o->host,
		                   .expires = o->expires };
	fill_keys(m, buf_view(&text), s);
	iam_derive(m, "session token", buf_view(&text), raw);
	buf_add(&text, raw, sizeof(raw));
	buf_base64(&token, text.p, text.n);
	s->token = buf_take(&token);
	*ret = take_ptr(s);
	return 0;
}

/* The text of a token whose MAC is right. */
static bool open_token(const struct iam *m, struct str token, struct buf *space, struct str *ret)
{
	unsigned char want[SHA256_BYTES];
	struct str text;

	if (!token.n || token.n > IAM_TOKEN_MAX || !buf_unbase64(space, token) || space->n <= sizeof(want))
		return false;
	text = (struct str){ space->p, space->n - sizeof(want) };
	iam_derive(m, "session token", text, want);
	*ret = text;
	return equal_secret(want, space->p + text.n, sizeof(want));
}

/* We wrote it; what another version wrote is none. */
static bool read_text(struct str text, struct iam_mint *o)
{
	struct str rest = text, host, expires;
	uint64_t number;

	if (!str_is(str_cut(&rest, '\n'), "1"))
		return false;
	o->role = str_cut(&rest, '\n');
	o->session = str_cut(&rest, '\n');
	o->job_id = str_cut(&rest, '\n');
	host = str_cut(&rest, '\n');
	expires = str_cut(&rest, '\n');
	if (!str_to_u64(host, &number) || number > UINT16_MAX || !str_to_i64(expires, &o->expires.ms))
		return false;
	o->host = (unsigned)number;
	return true;
}

enum iam_token iam_session_of(const struct iam *m, struct str access_key, struct str token, struct wall now,
                              struct iam_session **ret)
{
	_cleanup_(iam_session_unrefp) struct iam_session *s = NULL;
	_cleanup_buf_ struct buf space = { 0 };
	_cleanup_free_ char *name = NULL;
	struct iam_mint o = { 0 };
	struct str text;

	if (!open_token(m, token, &space, &text) || !read_text(text, &o) || !iam_knows_role(m, o.role))
		return IAM_TOKEN_FOREIGN;
	s = xcalloc(1, sizeof(*s));
	s->refs = 1;
	fill_keys(m, text, s);
	if (access_key.n != strlen(s->id) || !equal_secret(access_key.p, s->id, access_key.n))
		return IAM_TOKEN_FOREIGN;
	if (now.ms >= o.expires.ms)
		return IAM_TOKEN_OVER;
	if (o.job_id.n && (!m->hooks.job_lives || !m->hooks.job_lives(m->hooks.arg, o.job_id, &name)))
		return IAM_TOKEN_OVER;
	s->role = str_dup(o.role);
	s->arn = assumed_arn(o.role, o.session);
	s->session = str_dup(o.session);
	s->job_id = o.job_id.n ? str_dup(o.job_id) : NULL;
	s->job_name = take_ptr(name);
	s->host = o.host;
	s->expires = o.expires;
	s->token = str_dup(token);
	*ret = take_ptr(s);
	return IAM_TOKEN_GOOD;
}

/* ---- tokens of a host: JOB-ID.HOST.MAC ---- */

static void add_mac(const struct iam *m, enum iam_purpose purpose, struct str what, struct buf *out)
{
	unsigned char mac[SHA256_BYTES];

	iam_derive(m, purpose == IAM_FOR_HOST ? "host token" : "container token", what, mac);
	buf_hex(out, mac, sizeof(mac));
}

void iam_host_token(const struct iam *m, enum iam_purpose purpose, const char *job_id, unsigned host, struct buf *out)
{
	_cleanup_free_ char *what = strf("%s.%u", job_id, host);

	buf_f(out, "%s.", what);
	add_mac(m, purpose, str_of(what), out);
}

bool iam_host_of(const struct iam *m, enum iam_purpose purpose, struct str token, char **ret_job_id,
                 char **ret_job_name, unsigned *ret_host)
{
	_cleanup_buf_ struct buf want = { 0 };
	struct str what = token, mac, id, host;
	uint64_t number;

	if (token.n > 256)
		return false;
	mac = str_cut_last(&what, '.');
	host = what;
	id = str_cut(&host, '.');
	add_mac(m, purpose, what, &want);
	if (mac.n != want.n || !equal_secret(mac.p, want.p, mac.n) || !str_to_u64(host, &number) ||
	    number > UINT16_MAX || !m->hooks.job_lives || !m->hooks.job_lives(m->hooks.arg, id, ret_job_name))
		return false;
	*ret_job_id = str_dup(id);
	*ret_host = (unsigned)number;
	return true;
}
