/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api_reply.h"

#include <stdio.h>

#include "http/server.h"

/* A JSON string; what is not UTF-8 (a sentence cut in the middle of a character) becomes '?'. */
static void add_json_string(struct buf *out, struct str s)
{
	bool valid = utf8_valid(s);

	buf_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_add(out, (char[]){ '\\', (char)c }, 2);
		else if (c == '\n')
			buf_z(out, "\\n");
		else if (c < 0x20)
			buf_f(out, "\\u%04x", c);
		else
			buf_c(out, c >= 0x80 && !valid ? '?' : (char)c);
	}
	buf_c(out, '"');
}

static void content_type(struct http_response *out, enum api_protocol p, const struct service *service)
{
	if (p == API_QUERY)
		http_add_header(out, "Content-Type", "text/xml");
	else
		http_add_header(out, "Content-Type", "application/x-amz-json-%s",
		                service && service->json_version ? service->json_version : "1.1");
}

/* SageMaker's modeled errors spell their member with a capital (contract 9.2). */
static bool modeled(const char *type)
{
	static const char *const types[] = { "ResourceInUse", "ResourceNotFound", "ResourceLimitExceeded",
		                             "ConflictException" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

void api_reply_error(struct http_response *out, enum api_protocol p, const struct service *service,
                     const char *request_id, const struct api_failure *f)
{
	out->status = f->http;
	buf_reset(&out->body);
	content_type(out, p, service);
	http_add_header(out, "x-amzn-ErrorType", "%s", f->type);
	if (p == API_JSON) {
		buf_f(&out->body, "{\"__type\":\"%s\",\"%s\":", f->type, modeled(f->type) ? "Message" : "message");
		add_json_string(&out->body, f->message);
		buf_c(&out->body, '}');
		return;
	}
	buf_z(&out->body, "<ErrorResponse");
	if (service && service->xml_namespace)
		buf_f(&out->body, " xmlns=\"%s\"", service->xml_namespace);
	buf_f(&out->body, ">\n  <Error>\n    <Type>%s</Type>\n    <Code>%s</Code>\n    <Message>",
	      f->http >= 500 ? "Receiver" : "Sender", f->type);
	buf_xml(&out->body, f->message);
	buf_f(&out->body, "</Message>\n  </Error>\n  <RequestId>%s</RequestId>\n</ErrorResponse>\n", request_id);
}

struct api_failure api_failure_of(enum api_protocol p, const struct service *service, enum err_kind kind)
{
	static const struct {
		const char *service;
		enum err_kind kind;
		const char *type;
	} own[] = {
		{ "logs", ERR_INVALID, "InvalidParameterException" },
		{ "logs", ERR_NOT_FOUND, "ResourceNotFoundException" },
		{ "logs", ERR_IN_USE, "ResourceAlreadyExistsException" },
		{ "logs", ERR_LIMIT, "LimitExceededException" },
	};
	struct api_failure f = { err_info[kind].wire, err_info[kind].http, { 0 } };

	for (size_t i = 0; service && i < ARRAY_LEN(own); i++)
		if (own[i].kind == kind && strcmp(own[i].service, service->name) == 0)
			f.type = own[i].type;
	if (p == API_QUERY && kind == ERR_INVALID)
		f.type = "ValidationError";
	if (p == API_QUERY && kind == ERR_DENIED) {
		f.type = "AccessDenied";
		f.http = 403;
	}
	if (p == API_QUERY && kind == ERR_UNKNOWN_OP)
		f.type = "InvalidAction";
	return f;
}

static int add_bytes(const char *p, size_t n, void *arg)
{
	buf_add(arg, p, n);
	return 0;
}

static void add_xml(struct buf *out, const json_t *x)
{
	const char *key;
	json_t *sub;
	size_t i;

	switch (json_typeof(x)) {
	case JSON_OBJECT:
		json_object_foreach ((json_t *)x, key, sub) {
			buf_f(out, "<%s>", key);
			add_xml(out, sub);
			buf_f(out, "</%s>", key);
		}
		break;
	case JSON_ARRAY:
		json_array_foreach (x, i, sub) {
			buf_z(out, "<member>");
			add_xml(out, sub);
			buf_z(out, "</member>");
		}
		break;
	case JSON_STRING: buf_xml(out, (struct str){ json_string_value(x), json_string_length(x) }); break;
	case JSON_INTEGER: buf_f(out, "%lld", (long long)json_integer_value(x)); break;
	case JSON_REAL: buf_f(out, "%.15g", json_real_value(x)); break;
	case JSON_TRUE: buf_z(out, "true"); break;
	case JSON_FALSE: buf_z(out, "false"); break;
	case JSON_NULL: break;
	}
}

void api_reply_result(struct http_response *out, enum api_protocol p, const struct service *service, const char *op,
                      const char *request_id, const json_t *result)
{
	content_type(out, p, service);
	if (p == API_JSON) {
		if (result)
			must(json_dump_callback(result, add_bytes, &out->body,
			                        JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0);
		return;
	}
	buf_reset(&out->body);
	buf_f(&out->body, "<%sResponse xmlns=\"%s\"><%sResult>", op, service->xml_namespace, op);
	if (result)
		add_xml(&out->body, result);
	buf_f(&out->body, "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>\n",
	      op, request_id, op);
}
