/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/listed.h"

#include <stdlib.h>

#include "aws/xml.h"

enum { PARTS_MAX = 10000 };

struct parts_reader {
	struct listed list;
	struct listed_part now;
	bool has_number;
};

static void part_fini(struct listed_part *p)
{
	free(p->etag);
	for (int i = 0; i < CHECKSUM_COUNT; i++)
		free(p->checksum[i]);
	*p = (struct listed_part){ 0 };
}

static int end_part(struct parts_reader *r, struct err *e)
{
	struct listed *l = &r->list;

	if (!r->has_number || !r->now.etag)
		return err_set(e, ERR_SYNTAX, "a Part without PartNumber or ETag");
	if (l->n == PARTS_MAX)
		return err_set(e, ERR_SYNTAX, "more than %d parts", PARTS_MAX);
	if (!(l->n & (l->n - 1)))
		l->v = xrealloc(l->v, (l->n ? l->n * 2 : 1) * sizeof(*l->v));
	l->v[l->n++] = r->now;
	r->now = (struct listed_part){ 0 };
	r->has_number = false;
	return 0;
}

static void keep(char **to, struct str text)
{
	free(*to);
	*to = str_dup(str_trim(text));
}

static int part_element(struct str path, struct str text, void *arg, struct err *e)
{
	struct parts_reader *r = arg;
	struct str name = path;

	if (str_eq(path, STR("CompleteMultipartUpload/Part")))
		return end_part(r, e);
	if (!str_skip(&name, STR("CompleteMultipartUpload")))
		return err_set(e, ERR_SYNTAX, "the document is no CompleteMultipartUpload");
	if (!str_skip(&name, STR("/Part/")))
		return 0;
	if (str_eq(name, STR("PartNumber"))) {
		r->has_number = str_to_u64(str_trim(text), &r->now.number);
	} else if (str_eq(name, STR("ETag"))) {
		text = str_trim(text);
		if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
			text = (struct str){ text.p + 1, text.n - 2 };
		keep(&r->now.etag, text);
	} else if (str_skip(&name, STR("Checksum")) && checksum_by_name(name) != CHECKSUM_NONE) {
		keep(&r->now.checksum[checksum_by_name(name)], text);
	}
	return 0;
}

int listed_read(struct str xml, struct listed *ret, struct err *e)
{
	struct parts_reader r = { 0 };
	int rc = xml_read(xml, part_element, &r, e);

	if (rc == 0 && !r.list.n)
		rc = err_set(e, ERR_SYNTAX, "no parts are listed");
	part_fini(&r.now);
	if (rc < 0)
		listed_fini(&r.list);
	else
		*ret = r.list;
	return rc;
}

void listed_fini(struct listed *l)
{
	for (size_t i = 0; i < l->n; i++)
		part_fini(&l->v[i]);
	free(l->v);
	*l = (struct listed){ 0 };
}

struct deletion_reader {
	struct deletion *d;
	unsigned keys_in_object;
};

static int deletion_element(struct str path, struct str text, void *arg, struct err *e)
{
	struct deletion_reader *r = arg;
	struct deletion *d = r->d;
	struct str name = path;

	if (!str_skip(&name, STR("Delete")))
		return err_set(e, ERR_SYNTAX, "the document is no Delete");
	if (str_eq(name, STR("/Quiet"))) {
		d->quiet = str_eq_nocase(str_trim(text), STR("true"));
	} else if (str_eq(name, STR("/Object/VersionId"))) {
		d->versioned |= text.n && !str_eq(text, STR("null"));
	} else if (str_eq(name, STR("/Object/Key"))) {
		if (!text.n)
			return err_set(e, ERR_SYNTAX, "an empty Key");
		if (d->n == DELETE_MAX)
			return err_set(e, ERR_SYNTAX, "more than %d keys", DELETE_MAX);
		buf_str(&d->bytes, text);
		d->end[d->n++] = d->bytes.n;
		r->keys_in_object++;
	} else if (str_eq(name, STR("/Object"))) {
		if (r->keys_in_object != 1)
			return err_set(e, ERR_SYNTAX, "an Object without a Key, or with two");
		r->keys_in_object = 0;
	}
	return 0;
}

int deletion_read(struct str xml, struct deletion *ret, struct err *e)
{
	struct deletion_reader r = { .d = ret };

	*ret = (struct deletion){ 0 };
	if (xml_read(xml, deletion_element, &r, e) < 0) {
		deletion_fini(ret);
		return -1;
	}
	return ret->n ? 0 : err_set(e, ERR_SYNTAX, "no objects are listed");
}

void deletion_fini(struct deletion *d)
{
	buf_fini(&d->bytes);
	d->n = 0;
}

struct str deletion_key(const struct deletion *d, size_t i)
{
	size_t from = i ? d->end[i - 1] : 0;

	return (struct str){ d->bytes.p + from, d->end[i] - from };
}

static int configuration_element(struct str path, struct str text, void *arg, struct err *e)
{
	(void)text;
	(void)arg;
	if (!str_starts(path, STR("CreateBucketConfiguration")))
		return err_set(e, ERR_SYNTAX, "the document is no CreateBucketConfiguration");
	return 0;
}

int bucket_configuration_read(struct str xml, struct err *e)
{
	return xml_read(xml, configuration_element, NULL, e);
}
