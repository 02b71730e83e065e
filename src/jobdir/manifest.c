/* manifest.c - manifests, read piece by piece.  SPDX-License-Identifier: Apache-2.0
 *
 * A ManifestFile may be one line of a hundred megabytes, so its array is cut into elements by a small machine that
 * looks at single bytes; only an element is ever held. An augmented manifest is held line by line. */
#include "jobdir/manifest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobdir/jsontext.h"

enum { SHOWN_MAX = 300 }; /* bytes of a stranger's text in a sentence: FailureReason has 1024 characters */

struct manifest {
	struct manifest_options o;
	struct buf text; /* the element or line that is being read */
	uint64_t line;   /* the one that is being read */
	uint64_t units;
	bool begun; /* a first byte was seen, and it is no byte order mark's */

	/* ManifestFile */
	enum { AT_START, AT_FIRST, AT_VALUE, IN_STRING, IN_ESCAPE, IN_OBJECT, AT_COMMA, AT_END } at;
	bool in_name;       /* IN_OBJECT: within a string of it */
	bool name_escape;   /* and behind its backslash */
	uint64_t entry;     /* number of the one that is being read, the prefix being 0 */
	uint64_t from_line; /* where it began */
	struct buf prefix, bucket;
	size_t key_at;    /* where in prefix the key part begins; its length when it has none */
	bool bucket_open; /* the prefix ends within its bucket's name */

	/* AugmentedManifestFile */
	struct buf values; /* of one line, one behind the other */
};

struct manifest *manifest_new(const struct manifest_options *o)
{
	struct manifest *m = xcalloc(1, sizeof(*m));

	must(o->attribute_count <= MANIFEST_ATTRIBUTES_MAX);
	m->o = *o;
	m->line = 1;
	return m;
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	buf_fini(&m->text);
	buf_fini(&m->prefix);
	buf_fini(&m->bucket);
	buf_fini(&m->values);
	free(m);
}

/* ---- sentences ---- */

/* A piece of a stranger's text, short enough to be read, cut between characters. */
static struct str shown(struct str s)
{
	if (s.n <= SHOWN_MAX)
		return s;
	s.n = SHOWN_MAX;
	while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
		s.n--;
	return s;
}

/* Where: "entry 3 (line 4)", "its first element (line 1)" or "line 4". */
static void put_where(const struct manifest *m, uint64_t number, uint64_t line, struct buf *out)
{
	if (m->o.attribute_count)
		buf_f(out, "line %llu", (unsigned long long)line);
	else if (number)
		buf_f(out, "entry %llu (line %llu)", (unsigned long long)number, (unsigned long long)line);
	else
		buf_f(out, "its first element (line %llu)", (unsigned long long)line);
}

static int refuse_at(const struct manifest *m, uint64_t number, uint64_t line, const char *why, va_list ap,
                     struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	put_where(m, number, line, &text);
	buf_c(&text, ' ');
	buf_vf(&text, why, ap);
	return err_set(e, ERR_CLIENT, "Data download failed:In the manifest %s, %s", m->o.uri, text.p);
}

static int refuse(const struct manifest *m, struct err *e, const char *why, ...) printf_like(3, 4);
static int refuse(const struct manifest *m, struct err *e, const char *why, ...)
{
	va_list ap;

	va_start(ap, why);
	refuse_at(m, m->entry, m->o.attribute_count ? m->line : m->from_line, why, ap, e);
	va_end(ap);
	return -1;
}

/* The document as a whole. */
static int refuse_all(const struct manifest *m, struct err *e, const char *why, ...) printf_like(3, 4);
static int refuse_all(const struct manifest *m, struct err *e, const char *why, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, why);
	buf_vf(&text, why, ap);
	va_end(ap);
	return err_set(e, ERR_CLIENT, "Data download failed:The manifest %s %s", m->o.uri, text.p);
}

int manifest_blame(const struct manifest *m, const struct manifest_unit *u, const struct manifest_part *part,
                   struct err *e, const char *why, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	put_where(m, u->number, u->line, &text);
	if (part->attribute)
		buf_f(&text, ", attribute \"%s\",", part->attribute);
	buf_f(&text, " names s3://" PRIstr "/" PRIstr ", ", ARGstr(shown(part->bucket)), ARGstr(shown(part->key)));
	va_start(ap, why);
	buf_vf(&text, why, ap);
	va_end(ap);
	return err_set(e, ERR_CLIENT, "Data download failed:In the manifest %s, %s", m->o.uri, text.p);
}

/* ---- s3://bucket/key ---- */

static bool uri_split(struct str uri, struct str *ret_bucket, struct str *ret_key)
{
	if (!str_skip(&uri, STR("s3://")))
		return false;
	*ret_bucket = str_cut(&uri, '/');
	*ret_key = uri;
	return ret_bucket->n > 0;
}

/* Another S3's rules for buckets may be wider than ours; but what can be no host's name, or is a piece of a path, is no
 * bucket anywhere. */
static bool could_be_bucket(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && (i == 0 || !strchr(".-_", name.p[i]) || !name.p[i]))
			return false;
	return name.n > 0 && name.n <= 255;
}

static bool is_object(struct str uri, struct str *ret_bucket, struct str *ret_key)
{
	return uri_split(uri, ret_bucket, ret_key) && could_be_bucket(*ret_bucket) && ret_key->n;
}

/* ---- ManifestFile ---- */

static int take_prefix(struct manifest *m, struct err *e)
{
	static const char want[] = "is to be {\"prefix\": \"s3://bucket/some/prefix/\"}";
	struct str in = buf_view(&m->text), name, value, bucket, key;
	_cleanup_buf_ struct buf text = { 0 };

	if (!jsontext_skip(&in, '{') || !jsontext_member(&in, &name, &value) || !jsontext_skip(&in, '}') || in.n ||
	    !jsontext_decode(name, &text) || !str_is(buf_view(&text), "prefix") || !jsontext_is_string(value) ||
	    !jsontext_decode(value, &m->prefix))
		return refuse(m, e, "%s", want);
	if (!uri_split(buf_view(&m->prefix), &bucket, &key))
		return refuse(m, e, "%s, not a prefix of \"" PRIstr "\"", want, ARGstr(shown(buf_view(&m->prefix))));
	buf_str(&m->bucket, bucket);
	m->key_at = m->prefix.n - key.n;
	m->bucket_open = !key.n && m->prefix.p[m->prefix.n - 1] != '/';
	return 0;
}

/* The entry is appended to the prefix as it is. With a prefix that ends within the bucket's name the first entry tells
 * the bucket, and the others have to agree. */
static int take_entry(struct manifest *m, struct err *e)
{
	_cleanup_buf_ struct buf entry = { 0 };
	struct manifest_part part = { 0 };
	struct manifest_unit u = { .number = m->entry, .line = m->from_line, .parts = &part, .count = 1 };

	if (!jsontext_decode(buf_view(&m->text), &entry))
		return refuse(m, e, "has half a surrogate pair in it");
	if (str_starts(buf_view(&entry), STR("s3://")))
		return refuse(m, e,
		              "is \"" PRIstr "\"; entries are appended to the prefix " PRIstr
		              ", so they cannot name a bucket. "
		              "Write only the rest of the key, and one manifest for each bucket",
		              ARGstr(shown(buf_view(&entry))), ARGstr(shown(buf_view(&m->prefix))));
	m->text.n = 0;
	buf_str(&m->text, buf_view(&m->prefix));
	buf_str(&m->text, buf_view(&entry));
	if (!is_object(buf_view(&m->text), &part.bucket, &part.key))
		return refuse(m, e, "makes \"" PRIstr "\" of the prefix, which is no s3://bucket/key",
		              ARGstr(shown(buf_view(&m->text))));
	if (part.key.n > MANIFEST_KEY_MAX)
		return refuse(m, e, "makes a key of %zu bytes; keys have at most %d", part.key.n, MANIFEST_KEY_MAX);
	if (m->bucket_open && !m->units) {
		buf_reset(&m->bucket);
		buf_str(&m->bucket, part.bucket);
	}
	if (!str_eq(part.bucket, buf_view(&m->bucket)))
		return refuse(m, e,
		              "is in bucket \"" PRIstr "\" and those before it are in \"%s\"; a manifest can name one "
		              "bucket only. End its prefix with '/'",
		              ARGstr(shown(part.bucket)), m->bucket.p);
	m->units++;
	return m->o.unit(m->o.arg, &u, e);
}

/* The element in m->text is whole. */
static int take_element(struct manifest *m, struct err *e)
{
	struct str in = buf_view(&m->text), raw;
	int rc;

	if (!utf8_valid(in))
		return refuse(m, e, "is not UTF-8");
	if (!jsontext_value(&in, &raw) || in.n)
		return refuse(m, e, "is not JSON");
	rc = m->entry == 0 ? take_prefix(m, e) : take_entry(m, e);
	buf_reset(&m->text);
	m->entry++;
	m->at = AT_COMMA;
	return rc;
}

static int begin_element(struct manifest *m, char c, struct err *e)
{
	m->from_line = m->line;
	if (m->entry == 0 && c != '{')
		return refuse(m, e, "is to be {\"prefix\": \"s3://bucket/some/prefix/\"}");
	if (m->entry > 0 && c != '"')
		return refuse(m, e, "is no string; behind the prefix there are strings only");
	m->at = c == '{' ? IN_OBJECT : IN_STRING;
	m->in_name = m->name_escape = false;
	buf_c(&m->text, c);
	return 0;
}

static int in_element(struct manifest *m, char c, struct err *e)
{
	bool ends = false;

	if (m->text.n >= MANIFEST_ENTRY_MAX)
		return refuse(m, e, "is longer than %d bytes", MANIFEST_ENTRY_MAX);
	buf_c(&m->text, c);
	if (m->at == IN_ESCAPE) {
		m->at = IN_STRING;
	} else if (m->at == IN_STRING) {
		ends = c == '"';
		m->at = c == '\\' ? IN_ESCAPE : IN_STRING;
	} else if (m->name_escape) {
		m->name_escape = false;
	} else if (m->in_name) {
		m->name_escape = c == '\\';
		m->in_name = c != '"';
	} else { /* the prefix has no object within: the first '}' ends it, or it is none */
		m->in_name = c == '"';
		ends = c == '}';
	}
	return ends ? take_element(m, e) : 0;
}

static int between(struct manifest *m, char c, struct err *e)
{
	switch (m->at) {
	case AT_START:
		if (c != '[')
			return refuse_all(m, e,
			                  "is not a JSON array; it is to begin with [ {\"prefix\": "
			                  "\"s3://bucket/some/prefix/\"}, ...");
		m->at = AT_FIRST;
		return 0;
	case AT_FIRST:
		if (c == ']')
			return refuse_all(m, e,
			                  "is empty; its first element is to be {\"prefix\": "
			                  "\"s3://bucket/some/prefix/\"}");
		return begin_element(m, c, e);
	case AT_VALUE: return begin_element(m, c, e);
	case AT_COMMA:
		if (c != ',' && c != ']')
			return refuse_all(m, e, "is not JSON: in line %llu there is neither ',' nor ']' behind %s",
			                  (unsigned long long)m->line, m->entry == 1 ? "the prefix" : "an entry");
		m->at = c == ',' ? AT_VALUE : AT_END;
		return 0;
	default: return refuse_all(m, e, "goes on behind its array, in line %llu", (unsigned long long)m->line);
	}
}

static int feed_array(struct manifest *m, struct str piece, struct err *e)
{
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];
		bool inside = m->at == IN_STRING || m->at == IN_ESCAPE || m->at == IN_OBJECT;
		int rc = 0;

		if (inside)
			rc = in_element(m, c, e);
		else if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			rc = between(m, c, e);
		if (rc < 0)
			return -1;
		m->line += c == '\n';
	}
	return 0;
}

/* ---- AugmentedManifestFile ---- */

static bool same_name(struct str raw, const char *name, struct buf *scratch)
{
	buf_reset(scratch);
	return jsontext_decode(raw, scratch) && str_is(buf_view(scratch), name);
}

/* Cuts the line's members; raw[i] becomes the text of attribute i's value. The last of several of one name counts. */
static int find_attributes(struct manifest *m, struct str *raw, struct err *e)
{
	struct str in = buf_view(&m->text), name, value;
	_cleanup_buf_ struct buf scratch = { 0 };

	if (!utf8_valid(in))
		return refuse(m, e, "is not UTF-8");
	if (!jsontext_skip(&in, '{'))
		return refuse(m, e, "is no JSON object; every line is to be one, like {\"source-ref\": \"s3://...\"}");
	if (!jsontext_skip(&in, '}')) {
		do {
			if (!jsontext_member(&in, &name, &value))
				return refuse(m, e, "is not JSON at byte %zu", m->text.n - in.n + 1);
			for (size_t i = 0; i < m->o.attribute_count; i++)
				if (same_name(name, m->o.attributes[i], &scratch))
					raw[i] = value;
		} while (jsontext_skip(&in, ','));
		if (!jsontext_skip(&in, '}'))
			return refuse(m, e, "is not JSON at byte %zu", m->text.n - in.n + 1);
	}
	jsontext_blanks(&in);
	return in.n ? refuse(m, e, "goes on behind its object") : 0;
}

/* The value of one attribute into m->values; part says where it lies there, by offset until the line is whole. */
static int take_value(struct manifest *m, const char *name, struct str raw, struct manifest_part *part, struct err *e)
{
	bool is_ref = str_ends(str_of(name), STR("-ref"));
	struct str uri;
	size_t start = m->values.n;

	*part = (struct manifest_part){ .attribute = name, .literal = !is_ref };
	if (!jsontext_is_string(raw) && !is_ref)
		jsontext_compact(raw, &m->values);
	else if (!jsontext_is_string(raw))
		return refuse(m, e, "has no string as attribute \"%s\"; a name that ends in -ref is of an S3 URI",
		              name);
	else if (!jsontext_decode(raw, &m->values))
		return refuse(m, e, "has half a surrogate pair in attribute \"%s\"", name);
	part->bytes.n = m->values.n - start;
	if (!is_ref)
		return 0;
	uri = (struct str){ m->values.p + start, part->bytes.n };
	if (!is_object(uri, &part->bucket, &part->key) || part->key.n > MANIFEST_KEY_MAX)
		return refuse(m, e, "has \"" PRIstr "\" as attribute \"%s\", which is no s3://bucket/key",
		              ARGstr(shown(uri)), name);
	return 0;
}

/* m->values does not move any more: offsets become views. */
static void point(const struct manifest *m, struct manifest_part *parts)
{
	const char *p = m->values.p ? m->values.p : "";

	for (size_t i = 0; i < m->o.attribute_count; i++) {
		size_t n = parts[i].bytes.n;

		parts[i].bytes = (struct str){ p, n };
		if (!parts[i].literal)
			must(uri_split(parts[i].bytes, &parts[i].bucket, &parts[i].key));
		p += n;
	}
}

static int take_line(struct manifest *m, struct err *e)
{
	struct str raw[MANIFEST_ATTRIBUTES_MAX] = { 0 }, in = buf_view(&m->text);
	struct manifest_part parts[MANIFEST_ATTRIBUTES_MAX] = { 0 };
	struct manifest_unit u = { .number = m->line, .line = m->line, .parts = parts, .count = m->o.attribute_count };

	jsontext_blanks(&in);
	if (!in.n)
		return 0;
	if (find_attributes(m, raw, e) < 0)
		return -1;
	buf_reset(&m->values);
	for (size_t i = 0; i < m->o.attribute_count; i++) {
		if (!raw[i].p)
			return refuse(
			        m, e,
			        "has no attribute \"%s\", which is one of the AttributeNames. Add it to the line, "
			        "or leave it out of AttributeNames",
			        m->o.attributes[i]);
		if (take_value(m, m->o.attributes[i], raw[i], &parts[i], e) < 0)
			return -1;
	}
	point(m, parts);
	m->units++;
	return m->o.unit(m->o.arg, &u, e);
}

static int feed_lines(struct manifest *m, struct str piece, struct err *e)
{
	while (piece.n) {
		const char *lf = memchr(piece.p, '\n', piece.n);
		size_t n = lf ? (size_t)(lf - piece.p) : piece.n;

		if (m->text.n + n > MANIFEST_LINE_MAX)
			return refuse(m, e, "is longer than %d bytes", MANIFEST_LINE_MAX);
		buf_add(&m->text, piece.p, n);
		if (!lf)
			return 0;
		if (take_line(m, e) < 0)
			return -1;
		buf_reset(&m->text);
		m->line++;
		piece.p += n + 1;
		piece.n -= n + 1;
	}
	return 0;
}

/* ---- both ---- */

/* A byte order mark is no part of JSON, but editors write it. It may come in pieces: kept in text until it is clear. */
static int feed_first(struct manifest *m, struct str *piece)
{
	static const char mark[] = "\xef\xbb\xbf";

	while (piece->n && m->text.n < 3 && piece->p[0] == mark[m->text.n]) {
		buf_c(&m->text, piece->p[0]);
		piece->p++;
		piece->n--;
	}
	if (m->text.n == 3)
		buf_reset(&m->text);
	else if (!piece->n)
		return 0;
	m->begun = true;
	return 1;
}

static int feed(struct manifest *m, struct str piece, struct err *e)
{
	return m->o.attribute_count ? feed_lines(m, piece, e) : feed_array(m, piece, e);
}

int manifest_feed(struct manifest *m, struct str piece, struct err *e)
{
	_cleanup_buf_ struct buf half = { 0 };

	if (!m->begun) {
		if (!feed_first(m, &piece))
			return 0;
		buf_str(&half, buf_view(&m->text)); /* the start of a mark that was none */
		buf_reset(&m->text);
		if (half.n && feed(m, buf_view(&half), e) < 0)
			return -1;
	}
	return feed(m, piece, e);
}

int manifest_end(struct manifest *m, struct err *e)
{
	if (m->o.attribute_count) {
		if (m->text.n && take_line(m, e) < 0)
			return -1;
		return m->units ? 0 : refuse_all(m, e, "has no lines; there is nothing to train on");
	}
	if (m->at != AT_END)
		return refuse_all(m, e, "is not JSON: it ends in line %llu, %s", (unsigned long long)m->line,
		                  m->at == AT_START ? "before its array" : "within its array");
	return m->units ? 0 : refuse_all(m, e, "names no objects behind its prefix; there is nothing to train on");
}

void manifest_place(const struct manifest *m, struct str *ret_bucket, struct str *ret_prefix)
{
	*ret_bucket = buf_view(&m->bucket);
	*ret_prefix = (struct str){ buf_view(&m->prefix).p + m->key_at, m->prefix.n - m->key_at };
}
