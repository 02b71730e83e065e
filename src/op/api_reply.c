/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api_reply.h"

#include "aws/wire.h"
#include "http/server.h"

static void content_type(struct http_response *out, enum api_protocol p, const struct service *service)
{
	switch (p) {
	case API_QUERY: http_add_header(out, "Content-Type", "text/xml"); break;
	case API_REST: http_add_header(out, "Content-Type", "application/json"); break;
	case API_CBOR:
		http_add_header(out, "Content-Type", "application/cbor");
		http_add_header(out, "smithy-protocol", "rpc-v2-cbor");
		break;
	case API_JSON:
		http_add_header(out, "Content-Type", "application/x-amz-json-%s",
		                service && service->json_version ? service->json_version : "1.1");
		break;
	}
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

/* A sentence that was cut in the middle of a character has '?' instead of what is left of it. */
static json_t *text(struct str s)
{
	_cleanup_buf_ struct buf clean = { 0 };

	if (utf8_valid(s))
		return json_stringn(s.p, s.n);
	buf_str(&clean, s);
	for (size_t i = 0; i < clean.n; i++)
		if ((unsigned char)clean.p[i] >= 0x80)
			clean.p[i] = '?';
	return json_stringn(clean.p, clean.n);
}

static void xml_error(struct buf *out, const struct service *service, const char *request_id,
                      const struct api_failure *f)
{
	buf_z(out, "<ErrorResponse");
	if (service && service->xml_namespace)
		buf_f(out, " xmlns=\"%s\"", service->xml_namespace);
	buf_f(out, ">\n  <Error>\n    <Type>%s</Type>\n    <Code>%s</Code>\n    <Message>",
	      f->http >= 500 ? "Receiver" : "Sender", f->type);
	buf_xml(out, f->message);
	buf_f(out, "</Message>\n  </Error>\n  <RequestId>%s</RequestId>\n</ErrorResponse>\n", request_id);
}

void api_reply_error(struct http_response *out, enum api_protocol p, const struct service *service,
                     const char *request_id, const struct api_failure *f)
{
	json_t *body;

	out->status = f->http;
	buf_reset(&out->body);
	content_type(out, p, service);
	http_add_header(out, "x-amzn-ErrorType", "%s", f->type);
	if (p != API_QUERY && f->query)
		http_add_header(out, "x-amzn-query-error", "%s;%s", f->query, f->http >= 500 ? "Receiver" : "Sender");
	if (p == API_QUERY) {
		xml_error(&out->body, service, request_id, f);
		return;
	}
	body = json_object();
	json_object_set_new(body, "__type", json_string(f->type));
	json_object_set_new(body, modeled(f->type) ? "Message" : "message", text(f->message));
	if (p == API_CBOR)
		wire_write_cbor(NULL, body, &out->body);
	else
		wire_write_json(NULL, body, &out->body);
	json_decref(body);
}

/* What a service calls a kind of error, where that is not what all call it. */
static const struct own {
	const char *service;
	enum err_kind kind;
	const char *type, *query;
} own[] = {
	{ "logs", ERR_INVALID, "InvalidParameterException", NULL },
	{ "logs", ERR_NOT_FOUND, "ResourceNotFoundException", NULL },
	{ "logs", ERR_IN_USE, "ResourceAlreadyExistsException", NULL },
	{ "logs", ERR_LIMIT, "LimitExceededException", NULL },
	{ "cloudwatch", ERR_INVALID, "ValidationException", "ValidationError" },
	{ "cloudwatch", ERR_PARAMETER, "InvalidParameterValueException", "InvalidParameterValue" },
	{ "cloudwatch", ERR_COMBINATION, "InvalidParameterCombinationException", "InvalidParameterCombination" },
	{ "cloudwatch", ERR_MISSING, "MissingRequiredParameterException", "MissingParameter" },
	{ "cloudwatch", ERR_TOKEN, "InvalidNextToken", "InvalidNextToken" },
	{ "cloudwatch", ERR_DENIED, "AccessDeniedException", "AccessDenied" },
	{ "cloudwatch", ERR_UNKNOWN_OP, "UnknownOperationException", "InvalidAction" },
	{ "cloudwatch", ERR_IO, "InternalServiceFault", "InternalServiceError" },
};

struct api_failure api_failure_of(enum api_protocol p, const struct service *service, enum err_kind kind)
{
	struct api_failure f = { err_info[kind].wire, err_info[kind].http, { 0 }, NULL };
	const struct own *mine = NULL;

	for (size_t i = 0; service && i < ARRAY_LEN(own); i++)
		if (own[i].kind == kind && strcmp(own[i].service, service->name) == 0)
			mine = &own[i];
	if (mine)
		f.type = mine->type;
	if (service && service->query_compatible)
		f.query = mine ? mine->query : f.type;
	if (p != API_QUERY)
		return f;
	if (kind == ERR_INVALID)
		f.type = "ValidationError";
	else if (kind == ERR_UNKNOWN_OP)
		f.type = "InvalidAction";
	else if (f.query)
		f.type = f.query;
	if (kind == ERR_DENIED) {
		f.type = "AccessDenied";
		f.http = 403;
	}
	return f;
}

void api_reply_result(struct http_response *out, enum api_protocol p, const struct service *service,
                      const struct operation *op, const char *request_id, const json_t *result)
{
	content_type(out, p, service);
	if (p == API_QUERY) {
		buf_reset(&out->body);
		buf_f(&out->body, "<%sResponse xmlns=\"%s\"><%sResult>", op->name, service->xml_namespace, op->name);
		if (result)
			wire_write_xml(op->output, result, &out->body);
		buf_f(&out->body,
		      "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>\n",
		      op->name, request_id, op->name);
	} else if (result) {
		if (p == API_CBOR)
			wire_write_cbor(op->output, result, &out->body);
		else
			wire_write_json(op->output, result, &out->body);
	}
}
