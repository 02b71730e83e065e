/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/xml.h"

#include <expat.h>
#include <limits.h>

struct reader {
	XML_Parser parser;
	xml_element_fn *fn;
	void *arg;
	struct err *e;
	bool failed;
	struct buf path;
	unsigned depth;
	struct buf text[XML_DEPTH_MAX]; /* of each open element */
};

static void fail(struct reader *r, const char *why)
{
	if (!r->failed)
		err_set(r->e, ERR_SYNTAX, "line %lu: %s", (unsigned long)XML_GetCurrentLineNumber(r->parser), why);
	r->failed = true;
	XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *r = arg;
	struct str local = str_of(name);

	(void)attributes;
	if (r->failed)
		return;
	if (r->depth == XML_DEPTH_MAX) {
		fail(r, "elements are nested too deeply");
		return;
	}
	local = str_cut_last(&local, ':');
	if (r->depth)
		buf_c(&r->path, '/');
	buf_str(&r->path, local);
	buf_reset(&r->text[r->depth++]);
}

static void on_end(void *arg, const XML_Char *name)
{
	struct reader *r = arg;
	struct str above = buf_view(&r->path);

	(void)name;
	if (r->failed)
		return;
	r->depth--;
	if (r->fn(buf_view(&r->path), buf_view(&r->text[r->depth]), r->arg, r->e) < 0) {
		r->failed = true;
		XML_StopParser(r->parser, XML_FALSE);
		return;
	}
	str_cut_last(&above, '/');
	r->path.n = r->depth ? above.n : 0;
	r->path.p[r->path.n] = 0;
}

static void on_text(void *arg, const XML_Char *p, int n)
{
	struct reader *r = arg;

	if (r->failed || !r->depth)
		return;
	if (r->text[r->depth - 1].n + (size_t)n > XML_TEXT_MAX)
		fail(r, "an element's text is too long");
	else
		buf_add(&r->text[r->depth - 1], p, (size_t)n);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid, int internal)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)internal;
	fail(arg, "document type declarations are not accepted");
}

int xml_read(struct str doc, xml_element_fn *fn, void *arg, struct err *e)
{
	struct reader r = { .parser = XML_ParserCreate(NULL), .fn = fn, .arg = arg, .e = e };

	must(r.parser);
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
	if (doc.n > INT_MAX)
		r.failed = err_set(e, ERR_SYNTAX, "a document of %zu bytes is too long", doc.n) < 0;
	else if (XML_Parse(r.parser, doc.p, (int)doc.n, XML_TRUE) != XML_STATUS_OK && !r.failed)
		fail(&r, XML_ErrorString(XML_GetErrorCode(r.parser)));
	XML_ParserFree(r.parser);
	buf_fini(&r.path);
	for (int i = 0; i < XML_DEPTH_MAX; i++)
		buf_fini(&r.text[i]);
	return r.failed ? -1 : 0;
}
