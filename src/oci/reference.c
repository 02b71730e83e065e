/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reference.h"

#include <ctype.h>

#include "oci/image.h"

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool all_hex(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return true;
}

bool digest_valid(struct str s)
{
	return str_skip(&s, STR("sha256:")) && s.n == DIGEST_HEX_BYTES && all_hex(s);
}

/* One step of a path: lower-case words joined by '.', '_', "__" or any number of '-'. */
static bool component_valid(struct str s)
{
	if (s.n == 0 || !is_lower(s.p[0]) || !is_lower(s.p[s.n - 1]))
		return false;
	for (size_t i = 1; i < s.n; i++) {
		char c = s.p[i], before = s.p[i - 1];

		if (is_lower(c) || (c == '-' && (is_lower(before) || before == '-')))
			continue;
		if (c == '.' && is_lower(before))
			continue;
		if (c == '_' && (is_lower(before) || (before == '_' && i >= 2 && is_lower(s.p[i - 2]))))
			continue;
		return false;
	}
	return true;
}

static bool path_valid(struct str s)
{
	if (s.n == 0 || s.p[s.n - 1] == '/')
		return false;
	while (s.n)
		if (!component_valid(str_cut(&s, '/')))
			return false;
	return true;
}

static bool tag_valid(struct str s)
{
	if (s.n == 0 || s.n > 128 || !is_word(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_word(s.p[i]) && s.p[i] != '.' && s.p[i] != '-')
			return false;
	return true;
}

static bool port_valid(struct str s)
{
	uint64_t n;

	return str_to_u64(s, &n) && n > 0 && n < 65536;
}

/* A name, an IPv4 address or a bracketed IPv6 address, each with an optional port. */
static bool host_valid(struct str s)
{
	struct str name, whole = s;

	if (s.n && s.p[0] == '[') {
		struct str rest = s;

		name = str_cut(&rest, ']');
		for (size_t i = 1; i < name.n; i++)
			if (!isxdigit((unsigned char)name.p[i]) && name.p[i] != ':' && name.p[i] != '.')
				return false;
		if (name.n < 3 || name.n == s.n)
			return false;
		return rest.n == 0 || (str_skip(&rest, STR(":")) && port_valid(rest));
	}
	name = str_cut(&s, ':');
	if (name.n == 0 || name.n > 253 || !isalnum((unsigned char)name.p[0]) ||
	    !isalnum((unsigned char)name.p[name.n - 1]))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '-' &&
		    !(name.p[i] == '.' && name.p[i - 1] != '.'))
			return false;
	return name.n == whole.n || port_valid(s);
}

/* The host part of "host/path": by docker's rule a first step with a '.' or ':' in it, or "localhost". */
static struct str cut_host(struct str *rest)
{
	struct str after = *rest, first = str_cut(&after, '/');

	if (first.n == rest->n)
		return (struct str){ rest->p, 0 };
	if (!str_has_byte(first, '.') && !str_has_byte(first, ':') && !str_is(first, "localhost"))
		return (struct str){ rest->p, 0 };
	*rest = after;
	return first;
}

static int refuse(struct str text, const char *why, struct err *e)
{
	return err_set(e, ERR_INVALID, "'" PRIstr "%s' is not the name of an image: %s",
	               ARGstr(((struct str){ text.p, text.n > 200 ? 200 : text.n })), text.n > 200 ? "..." : "", why);
}

int reference_parse(struct str text, struct reference *ret, struct err *e)
{
	struct reference r = { 0 };
	struct str rest = text;
	ptrdiff_t colon;

	if (text.n == 0 || text.n > REFERENCE_MAX_BYTES)
		return refuse(text, "it must have between 1 and 512 characters", e);
	if (str_has_byte(text, '@')) {
		struct str name = str_cut(&rest, '@');

		r.digest = rest;
		rest = name;
		if (!digest_valid(r.digest))
			return refuse(text, "after '@' there must be sha256: and 64 hexadecimal digits", e);
		str_skip(&r.digest, STR("sha256:"));
	}
	r.host = cut_host(&rest);
	if (r.host.n && !host_valid(r.host))
		return refuse(text, "the part before the first '/' is not a host name", e);
	colon = str_find(rest, STR(":"));
	if (colon >= 0) {
		r.tag = (struct str){ rest.p + colon + 1, rest.n - (size_t)colon - 1 };
		rest.n = (size_t)colon;
		if (!tag_valid(r.tag))
			return refuse(text, "a tag is 1 to 128 letters, digits, '_', '.' and '-'", e);
	}
	r.path = rest;
	if (!path_valid(r.path))
		return refuse(text, "a name is lower-case letters and digits, joined by '.', '_', '-' and '/'", e);
	*ret = r;
	return 0;
}

char *reference_text(const struct reference *r)
{
	struct buf b = { 0 };

	buf_init(&b);
	if (r->host.n)
		buf_f(&b, PRIstr "/", ARGstr(r->host));
	buf_str(&b, r->path);
	if (r->digest.n)
		buf_f(&b, "@sha256:" PRIstr, ARGstr(r->digest));
	else
		buf_f(&b, ":" PRIstr, ARGstr(r->tag.n ? r->tag : STR("latest")));
	return buf_take(&b);
}

int reference_canonical(struct str text, char **ret, struct err *e)
{
	struct reference r;
	_cleanup_free_ char *canonical = NULL;
	_cleanup_free_ char *leaf = NULL;

	if (reference_parse(text, &r, e) < 0)
		return -1;
	canonical = reference_text(&r);
	leaf = reference_leaf(str_of(canonical));
	if (strlen(leaf) > REFERENCE_LEAF_MAX_BYTES)
		return refuse(text, "it is too long for a file name", e);
	*ret = take_ptr(canonical);
	return 0;
}

char *reference_leaf(struct str canonical)
{
	struct buf b = { 0 };

	buf_init(&b);
	buf_uri(&b, canonical, false);
	return buf_take(&b);
}

bool reference_host_is_ecr(struct str host)
{
	struct str account = str_cut(&host, '.');
	uint64_t number;

	if (account.n != 12 || !str_to_u64(account, &number))
		return false;
	if (!str_skip(&host, STR("dkr.ecr.")) && !str_skip(&host, STR("dkr.ecr-fips.")))
		return false;
	return str_cut(&host, '.').n > 0 && (str_is(host, "amazonaws.com") || str_is(host, "amazonaws.com.cn"));
}

/* Offers the name without its host (and without steps_off_path), in canonical form. */
static bool offer(struct reference r, struct str host, struct str path, bool (*fn)(void *arg, struct str reference),
                  void *arg)
{
	_cleanup_free_ char *text = NULL;

	r.host = host;
	r.path = path;
	text = reference_text(&r);
	return fn(arg, str_of(text));
}

bool image_reference_each(struct str training_image, bool (*fn)(void *arg, struct str reference), void *arg)
{
	struct reference r;
	struct str path;

	if (reference_parse(training_image, &r, NULL) < 0)
		return false;
	if (offer(r, r.host, r.path, fn, arg))
		return true;
	if (reference_host_is_ecr(r.host))
		return offer(r, (struct str){ 0 }, r.path, fn, arg);
	if (!str_is(r.host, "docker.io") && !str_is(r.host, "index.docker.io"))
		return false;
	if (offer(r, (struct str){ 0 }, r.path, fn, arg))
		return true;
	path = r.path;
	return str_skip(&path, STR("library/")) && offer(r, (struct str){ 0 }, path, fn, arg);
}

bool image_reference_pullable(struct str training_image)
{
	struct reference r;

	return reference_parse(training_image, &r, NULL) == 0 && r.host.n > 0;
}
