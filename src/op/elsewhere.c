/* SPDX-License-Identifier: Apache-2.0 */
#include "op/elsewhere.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "http/server.h"
#include "iam/iam.h"
#include "job/desk.h"
#include "store/store.h"

enum { SMALL = 4096, PIECE = 1 << 20, FEEDS = 64 << 10 };

#define PREFIX "/bloomery/hosts/"

/* One request; r->ctx. */
struct visit {
	struct desk *desk;
	char id[JOB_ID_BYTES];
	struct str leaf; /* of the path, viewed; may be empty */
	struct desk_part *part;
	struct err *refused; /* by route(), when it is to be told */
	int refused_status;
};

static struct visit *visit_of(const struct http_request *r)
{
	return r->ctx;
}

/* ---- who ---- */

static bool bearer(const struct http_request *r, struct str *ret_token)
{
	struct str rest = str_trim(http_header_get(r, "Authorization")), word = str_cut(&rest, ' ');

	*ret_token = str_trim(rest);
	return str_eq_nocase(word, STR("Bearer"));
}

bool elsewhere_takes(const struct http_request *r)
{
	struct str token;

	return str_starts(r->path, STR(PREFIX)) && bearer(r, &token);
}

static bool is_its(const struct api *api, struct str token, struct str id)
{
	_cleanup_free_ char *job_id = NULL, *name = NULL;
	char own[JOB_ID_BYTES];
	struct wall created;
	unsigned host;

	if (!api->iam || !iam_host_of(api->iam, IAM_FOR_HOST, token, &job_id, &name, &host))
		return false;
	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++)
		if (store_job_locate(api->store, kind, str_of(name), host, own, &created, NULL) == 0 && str_is(id, own))
			return true;
	return false;
}

/* ---- answers ---- */

static void say(struct http_response *out, int status, json_t *j)
{
	_cleanup_free_ char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	must(text);
	out->status = status;
	buf_z(&out->body, text);
	http_add_header(out, "Content-Type", "application/json");
}

static int status_of(const struct err *e)
{
	switch (e->kind) {
	case ERR_NOT_FOUND: return 404;
	case ERR_CONFLICT: return 409;
	case ERR_IN_USE: return 410;
	case ERR_TOO_LARGE: return 413;
	case ERR_BUSY: return 503;
	case ERR_DENIED:
	case ERR_INVALID:
	case ERR_SYNTAX: return 400;
	default: return 500;
	}
}

static void refuse(const struct http_request *r, struct http_response *out, int status, const char *message)
{
	log_debug("host " PRIstr " from " PRIstr ": %d %s, request %s", ARGstr(r->path), ARGstr(r->remote), status,
	          message, r->request_id);
	say(out, status,
	    json_pack("{ss ss}", "code",
	              status == 403   ? "AccessDenied"
	              : status >= 500 ? "NotNow"
	                              : "Refused",
	              "message", message));
}

static void fail(const struct http_request *r, struct http_response *out, const struct err *e)
{
	char text[4096];
	int status = status_of(e);

	if (status >= 500 && e->kind != ERR_BUSY)
		log_err(LOG_ERROR, e, "request %s of a host failed", r->request_id);
	refuse(r, out, status, err_text(e, text, sizeof(text)));
}

static void send_file(const struct http_request *r, struct http_response *out, int fd)
{
	struct err e = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_sys(&e, "looking at a file");
		close(fd);
		fail(r, out, &e);
		return;
	}
	out->fd = fd;
	out->length = (uint64_t)st.st_size;
	http_add_header(out, "Content-Type", "application/octet-stream");
}

static bool number_of(struct str query, const char *name, uint64_t *ret)
{
	while (query.n) {
		struct str value = str_cut(&query, '&'), key = str_cut(&value, '=');

		if (str_is(key, name))
			return str_to_u64(value, ret);
	}
	return false;
}

static struct str text_of(struct str query, const char *name)
{
	while (query.n) {
		struct str value = str_cut(&query, '&'), key = str_cut(&value, '=');

		if (str_is(key, name))
			return value;
	}
	return (struct str){ 0 };
}

/* ---- what there is ---- */

static int hello(struct http_request *r, struct http_response *out, struct err *e)
{
	const struct visit *v = visit_of(r);
	json_t *in = json_loadb(r->body.p ? r->body.p : "", r->body.n, JSON_REJECT_DUPLICATES, NULL), *reply;
	const struct desk_hello h = { .address = json_string_value(json_object_get(in, "address")),
		                      .instance = json_string_value(json_object_get(in, "instance")),
		                      .now = { json_integer_value(json_object_get(in, "now")) } };
	int rc = h.address && h.instance && h.now.ms > 0
	                 ? desk_hello(v->desk, v->id, &h, &reply, e)
	                 : err_set(e, ERR_INVALID, "a hello has an address, an instance and the time");

	json_decref(in);
	if (rc == 0)
		say(out, 200, reply);
	return rc;
}

static int append(struct http_request *r, struct http_response *out, enum desk_file which, struct err *e)
{
	const struct visit *v = visit_of(r);
	uint64_t offset, size;

	if (!number_of(r->query, "offset", &offset) || offset > INT64_MAX / 2)
		return err_set(e, ERR_INVALID, "say ?offset=N, where in the file the bytes belong");
	if (desk_append(v->desk, v->id, which, offset, buf_view(&r->body), &size, e) < 0)
		return -1;
	say(out, 200, json_pack("{sI}", "size", (json_int_t)size));
	return 0;
}

static int journal(struct http_request *r, struct http_response *out, struct err *e)
{
	return append(r, out, DESK_JOURNAL, e);
}

static int log_bytes(struct http_request *r, struct http_response *out, struct err *e)
{
	return append(r, out, DESK_LOG, e);
}

static int feeds(struct http_request *r, struct http_response *out, struct err *e)
{
	const struct visit *v = visit_of(r);

	if (desk_feeds(v->desk, v->id, buf_view(&r->body), e) < 0)
		return -1;
	say(out, 200, json_object());
	return 0;
}

static int staged(struct http_request *r, struct http_response *out, struct err *e)
{
	if (desk_part_end(visit_of(r)->part, text_of(r->query, "md5"), e) < 0)
		return -1;
	say(out, 200, json_object());
	return 0;
}

static int list(struct http_request *r, struct http_response *out, struct err *e)
{
	const struct visit *v = visit_of(r);
	int fd = desk_list(v->desk, v->id, v->leaf, e);

	if (fd < 0)
		return -1;
	send_file(r, out, fd);
	return 0;
}

static int image(struct http_request *r, struct http_response *out, struct err *e)
{
	const struct visit *v = visit_of(r);
	json_t *about;
	int fd = desk_image(v->desk, v->id, &about, e);

	if (fd < 0)
		return -1;
	if (str_is(v->leaf, "archive")) {
		json_decref(about);
		send_file(r, out, fd);
		return 0;
	}
	close(fd);
	if (v->leaf.n) {
		json_decref(about);
		return err_set(e, ERR_NOT_FOUND, "of an image there is the archive");
	}
	say(out, 200, about);
	return 0;
}

static int orders(struct http_request *r, struct http_response *out, struct err *e)
{
	const struct visit *v = visit_of(r);
	json_t *j;

	if (desk_orders(v->desk, v->id, &j, e) < 0)
		return -1;
	say(out, 200, j);
	return 0;
}

static bool has_news(struct http_request *r)
{
	const struct visit *v = visit_of(r);
	uint64_t seen = 0;

	return !number_of(r->query, "seen", &seen) || desk_has_news(v->desk, v->id, seen);
}

/* ---- the way there ---- */

static const struct row {
	const char *method, *name;
	bool leaf;
	size_t body_max;
	int (*run)(struct http_request *r, struct http_response *out, struct err *e);
} rows[] = {
	{ "POST", "hello", false, SMALL, hello },   { "POST", "journal", false, PIECE, journal },
	{ "POST", "log", false, PIECE, log_bytes }, { "PUT", "feeds", false, FEEDS, feeds },
	{ "PUT", "staged", true, 0, staged },       { "GET", "lists", true, 0, list },
	{ "GET", "image", true, 0, image },         { "GET", "orders", false, 0, orders },
};

/* /bloomery/hosts/ID/NAME[/LEAF] */
static const struct row *find_row(const struct http_request *r, struct str *ret_id, struct str *ret_leaf,
                                  bool *ret_known)
{
	struct str rest = r->path, name;

	str_skip(&rest, STR(PREFIX));
	*ret_id = str_cut(&rest, '/');
	name = str_cut(&rest, '/');
	*ret_leaf = rest;
	*ret_known = false;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!str_is(name, rows[i].name) || (rest.n && !rows[i].leaf))
			continue;
		*ret_known = true;
		if (str_is(r->method, rows[i].method))
			return &rows[i];
	}
	return NULL;
}

static void respond(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	struct str id, leaf;
	bool known;
	const struct row *row = find_row(r, &id, &leaf, &known);
	struct err e = { 0 };

	if (body_error)
		fail(r, out, body_error);
	else if (row->run(r, out, &e) < 0)
		fail(r, out, &e);
}

static void respond_refusal(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	const struct visit *v = visit_of(r);

	(void)body_error;
	if (v->refused_status == 405)
		http_add_header(out, "Allow", "GET, POST, PUT");
	if (v->refused_status)
		refuse(r, out, v->refused_status, v->refused->frame[0]);
	else
		fail(r, out, v->refused);
}

static int on_part(struct http_request *r, struct str piece, struct err *e)
{
	return desk_part_add(visit_of(r)->part, piece, e);
}

static void done(struct http_request *r)
{
	struct visit *v = r->ctx;

	desk_part_free(v->part);
	free(v->refused);
	free(v);
	r->ctx = NULL;
}

/* status 0: as the error says. */
static void route_refusal(struct visit *v, int status, const struct err *e, struct http_route *ret)
{
	v->refused = xcalloc(1, sizeof(*v->refused));
	*v->refused = *e;
	v->refused_status = status;
	ret->refuse = true;
	ret->respond = respond_refusal;
}

static void route_row(struct visit *v, const struct row *row, const struct http_request *r, struct http_route *ret)
{
	struct err e = { 0 };

	ret->respond = respond;
	ret->collect_max = row->body_max;
	ret->slow = true;
	if (row->run == orders) {
		snprintf(ret->wait_key, sizeof(ret->wait_key), "%s", v->id);
		ret->hold_ms = desk_hold_ms(v->desk);
		ret->ready = has_news;
	}
	if (row->run != staged)
		return;
	if (!r->has_body_length)
		err_set(&e, ERR_INVALID, "an artifact comes with its Content-Length");
	else if (desk_part_new(v->desk, v->id, v->leaf, r->body_length, &v->part, &e) == 0)
		ret->on_body = on_part;
	if (!v->part)
		route_refusal(v, 0, &e, ret);
}

void elsewhere_route(const struct api *api, struct http_request *r, struct http_route *ret)
{
	struct visit *v = xcalloc(1, sizeof(*v));
	struct str id, token;
	const struct row *row;
	struct err e = { 0 };
	bool known;

	r->ctx = v;
	*ret = (struct http_route){ .done = done };
	v->desk = api->desk;
	row = find_row(r, &id, &v->leaf, &known);
	if (!bearer(r, &token) || !is_its(api, token, id)) {
		err_set(&e, ERR_DENIED,
		        "The token is not the one of this host, or its training job has ended. What a host may is in "
		        "its own spec.json.");
		id.n = id.n < 64 ? id.n : 64;
		log_info("host " PRIstr ": refused to " PRIstr ", request %s", ARGstr(id), ARGstr(r->remote),
		         r->request_id);
		route_refusal(v, 403, &e, ret);
	} else if (!api->desk) {
		err_set(&e, ERR_NOT_FOUND, "No hosts are started by hand here (launcher in bloomery.conf).");
		route_refusal(v, 404, &e, ret);
	} else if (!row) {
		err_set(&e, ERR_NOT_FOUND, "There is no such thing of a host, or not by this method.");
		route_refusal(v, known ? 405 : 404, &e, ret);
	} else {
		memcpy(v->id, id.p, sizeof(v->id) - 1);
		route_row(v, row, r, ret);
	}
}
