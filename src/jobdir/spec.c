/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/spec.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/jobdir.h"

/* spec.json is written by one user and read by root, so each member has a row that says what it may be. The same rows
 * write it. */
enum form { FORM_TEXT, FORM_U64, FORM_I64, FORM_UINT, FORM_REAL, FORM_BOOL, FORM_PLACE };

struct member {
	const char *name;
	size_t offset;
	enum form form;
	bool optional;              /* may be absent, and is then NULL or false */
	bool free;                  /* text: a user's, which may hold control characters */
	bool (*check)(struct str);  /* text: besides being UTF-8 of at most max bytes */
	const char *const *choices; /* text: one of these, NULL-terminated */
	double min, max;            /* numbers but 64-bit ones without both; bytes of a text */
};

#define BYTES_MAX ((double)(1ULL << 50))

static bool leaf_ok(struct str s)
{
	return s.n > 0 && s.n <= 255 && !str_has_byte(s, '/') && !str_is(s, ".") && !str_is(s, "..");
}

static bool only(struct str s, const char *bytes)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr(bytes, s.p[i]))
			return false;
	return true;
}

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool account_ok(struct str s)
{
	return s.n == 12 && only(s, DIGITS);
}

static bool label_ok(struct str s)
{
	return s.n > 0 && only(s, DIGITS LOWER UPPER "-");
}

static bool type_ok(struct str s)
{
	return s.n > 0 && only(s, DIGITS LOWER ".-");
}

static bool channel_name_ok(struct str s)
{
	return leaf_ok(s) && only(s, DIGITS LOWER UPPER ".-_");
}

static bool bucket_ok(struct str s)
{
	return leaf_ok(s) && s.n >= 3 && only(s, DIGITS LOWER UPPER ".-_");
}

static bool s3_uri_ok(struct str s)
{
	return str_starts(s, STR("s3://")) || str_starts(s, STR("https://"));
}

static bool absolute_ok(struct str s)
{
	return s.n > 0 && s.p[0] == '/';
}

static bool bridge_ok(struct str s)
{
	return s.n == 11 && str_skip(&s, STR("blm")) && only(s, DIGITS "abcdef");
}

static bool address_ok(struct str s)
{
	return s.n >= 7 && only(s, DIGITS "."); /* read by net/, which knows more of them */
}

static bool key_ok(struct str s)
{
	return s.n == 64 && only(s, DIGITS "abcdef");
}

static bool url_ok(struct str s)
{
	return str_starts(s, STR("http://")) || str_starts(s, STR("https://"));
}

/* They stand in headers and request lines. */
static bool token_ok(struct str s)
{
	return s.n > 0 && only(s, DIGITS LOWER UPPER ".-_");
}

static bool credentials_path_ok(struct str s)
{
	return str_skip(&s, STR("/v2/credentials/")) && token_ok(s);
}

static const char *const input_modes[] = { "File", "Pipe", "FastFile", NULL };
static const char *const distributions[] = { "FullyReplicated", "ShardedByS3Key", NULL };
static const char *const wrappers[] = { "None", "RecordIO", NULL };
static const char *const compressions[] = { "None", "Gzip", NULL };
static const char *const data_types[] = { "S3Prefix", "ManifestFile", "AugmentedManifestFile", NULL };
static const char *const file_system_types[] = { "EFS", "FSxLustre", NULL };
static const char *const accesses[] = { "ro", "rw", NULL };
static const char *const places[] = {
	[PLACE_EMBEDDED] = "embedded", [PLACE_REMOTE] = "remote", [PLACE_FILE_SYSTEM] = "file-system", NULL
};

/* clang-format off */
#define AT(type, field) .name = #field, .offset = offsetof(struct type, field)
static const struct member spec_members[] = {
	{ AT(job_spec, id), .check = job_id_valid, .max = 16 },
	{ AT(job_spec, name), .check = label_ok, .max = 63 },
	{ AT(job_spec, arn), .max = 256 },
	{ AT(job_spec, region), .check = label_ok, .max = 32 },
	{ AT(job_spec, account), .check = account_ok, .max = 12 },
	{ AT(job_spec, host_name), .check = label_ok, .max = 63 },
	{ AT(job_spec, host_number), FORM_UINT, .min = 1, .max = 1000 },
	{ AT(job_spec, host_count), FORM_UINT, .min = 1, .max = 1000 },
	{ AT(job_spec, output_hosts_all), FORM_BOOL, .optional = true },
	{ AT(job_spec, fastfile_links_max), FORM_U64, .max = BYTES_MAX },
	{ AT(job_spec, image), .free = true, .max = 4 * 255 },
	{ AT(job_spec, max_runtime_s), FORM_I64, .min = 1, .max = 31622400 },
	{ AT(job_spec, stop_grace_s), FORM_I64, .min = 0, .max = 86400 },
	{ AT(job_spec, output_place), FORM_PLACE },
	{ AT(job_spec, output_bucket), .check = bucket_ok, .max = 255 },
	{ AT(job_spec, output_prefix), .free = true, .max = 4 * 1024 },
	{ AT(job_spec, api_url), .optional = true, .check = url_ok, .max = 256 },
	{ AT(job_spec, token), .optional = true, .check = token_ok, .max = 255 },
	{ AT(job_spec, server), .optional = true, .check = url_ok, .max = 256 },
	{ AT(job_spec, address), .optional = true, .check = address_ok, .max = 15 },
	{ AT(job_spec, credentials_path), .optional = true, .check = credentials_path_ok, .max = 255 },
	{ AT(job_spec, log_epoch_s), FORM_I64, .min = 0, .max = 1e12 },
};
static const struct member limits_members[] = {
	{ AT(job_limits, instance_type), .check = type_ok, .max = 64 },
	{ AT(job_limits, cpus), FORM_REAL, .min = 0.01, .max = 8192 },
	{ AT(job_limits, memory_bytes), FORM_U64, .min = 1 << 20, .max = BYTES_MAX },
	{ AT(job_limits, shm_bytes), FORM_U64, .min = 0, .max = BYTES_MAX },
	{ AT(job_limits, volume_bytes), FORM_U64, .min = 1 << 20, .max = BYTES_MAX },
	{ AT(job_limits, pids), FORM_U64, .min = 1, .max = 4194304 },
	{ AT(job_limits, clipped), .optional = true, .max = 1024 },
};
static const struct member channel_members[] = {
	{ AT(channel_spec, name), .check = channel_name_ok, .max = 64 },
	{ AT(channel_spec, input_mode), .choices = input_modes, .max = 16 },
	{ AT(channel_spec, content_type), .optional = true, .free = true, .max = 4 * 256 },
	{ AT(channel_spec, distribution), .choices = distributions, .max = 32 },
	{ AT(channel_spec, record_wrapper), .choices = wrappers, .max = 16 },
	{ AT(channel_spec, compression), .choices = compressions, .max = 16 },
	{ AT(channel_spec, place), FORM_PLACE },
	{ AT(channel_spec, share_number), FORM_UINT, .max = 999 },
	{ AT(channel_spec, share_count), FORM_UINT, .min = 1, .max = 1000 },
	{ AT(channel_spec, shuffled), FORM_BOOL },
	{ AT(channel_spec, shuffle_seed), FORM_I64 },
	{ AT(channel_spec, s3_data_type), .optional = true, .choices = data_types, .max = 32 },
	{ AT(channel_spec, s3_uri), .optional = true, .free = true, .check = s3_uri_ok, .max = 4 * 1024 },
	{ AT(channel_spec, bucket), .optional = true, .check = bucket_ok, .max = 255 },
	{ AT(channel_spec, prefix), .optional = true, .free = true, .max = 4 * 1024 },
	{ AT(channel_spec, list), .optional = true, .check = leaf_ok, .max = 255 },
	{ AT(channel_spec, objects), FORM_U64, .max = BYTES_MAX },
	{ AT(channel_spec, bytes), FORM_U64, .max = BYTES_MAX * 1024 },
	{ AT(channel_spec, file_system_id), .optional = true, .check = label_ok, .max = 21 },
	{ AT(channel_spec, file_system_type), .optional = true, .choices = file_system_types, .max = 16 },
	{ AT(channel_spec, file_system_access), .optional = true, .choices = accesses, .max = 2 },
	{ AT(channel_spec, directory_path), .optional = true, .free = true, .check = absolute_ok, .max = 4 * 4096 },
};
static const struct member s3_members[] = {
	{ AT(s3_target, endpoint), .check = url_ok, .max = 1024 },
	{ AT(s3_target, region), .check = label_ok, .max = 64 },
	{ AT(s3_target, access_key), .max = 256 },
	{ AT(s3_target, secret_key), .max = 256 },
	{ AT(s3_target, session_token), .optional = true, .max = 8192 },
};
static const struct member network_members[] = {
	{ AT(network_spec, bridge), .check = bridge_ok, .max = 11 },
	{ AT(network_spec, address), .check = address_ok, .max = 15 },
	{ AT(network_spec, gateway), .check = address_ok, .max = 15 },
	{ AT(network_spec, prefix), FORM_UINT, .min = 8, .max = 30 },
	{ AT(network_spec, isolated), FORM_BOOL },
	{ AT(network_spec, subnet), .optional = true, .max = 4096 },
	{ AT(network_spec, traffic), .optional = true, .max = 32768 },
	{ AT(network_spec, private_key), .optional = true, .check = key_ok, .max = 64 },
};
static const struct member machine_members[] = {
	{ AT(network_spec, address), .check = address_ok, .max = 15 },
};
static const struct member peer_members[] = {
	{ AT(network_peer, name), .check = label_ok, .max = 63 },
	{ AT(network_peer, address), .check = address_ok, .max = 15 },
	{ AT(network_peer, public_key), .optional = true, .check = key_ok, .max = 64 },
};
/* clang-format on */

/* ---- writing ---- */

static json_t *member_to_json(const struct member *m, const void *at)
{
	switch (m->form) {
	case FORM_TEXT: return json_string(*(char *const *)at);
	case FORM_U64: return json_integer((json_int_t) * (const uint64_t *)at);
	case FORM_I64: return json_integer(*(const int64_t *)at);
	case FORM_UINT: return json_integer(*(const unsigned *)at);
	case FORM_REAL: return json_real(*(const double *)at);
	case FORM_BOOL: return json_boolean(*(const bool *)at);
	case FORM_PLACE: return json_string(places[*(const enum place *)at]);
	}
	return NULL;
}

static json_t *members_to_json(const struct member *m, size_t n, const void *base)
{
	json_t *j = json_object();

	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)base + m[i].offset;

		if (m[i].optional && (m[i].form == FORM_BOOL ? !*(const bool *)at : !*(char *const *)at))
			continue;
		/* A text that is missing or not UTF-8 is left out, and then refused by name by the reader. */
		json_object_set_new(j, m[i].name, member_to_json(&m[i], at));
	}
	return j;
}

static json_t *network_to_json(const struct network_spec *n)
{
	json_t *j = n->bridge ? members_to_json(network_members, ARRAY_LEN(network_members), n)
	                      : members_to_json(machine_members, ARRAY_LEN(machine_members), n);
	json_t *peers = json_array();

	for (size_t i = 0; i < n->peer_count; i++)
		json_array_append_new(peers, members_to_json(peer_members, ARRAY_LEN(peer_members), &n->peers[i]));
	json_object_set_new(j, "kind", json_string(n->bridge ? "bridge" : "machine"));
	json_object_set_new(j, "peers", peers);
	return j;
}

static json_t *gpus_to_json(const struct job_spec *s)
{
	json_t *names = json_array();

	for (size_t i = 0; i < s->gpu_count; i++)
		json_array_append_new(names, json_string(s->gpu[i]));
	return names;
}

json_t *spec_to_json(const struct job_spec *s)
{
	json_t *j = members_to_json(spec_members, ARRAY_LEN(spec_members), s), *channels = json_array();

	for (size_t i = 0; i < s->channel_count; i++)
		json_array_append_new(channels,
		                      members_to_json(channel_members, ARRAY_LEN(channel_members), &s->channels[i]));
	json_object_set_new(j, "v", json_integer(SPEC_VERSION));
	json_object_set(j, "request", s->request);
	json_object_set_new(j, "limits", members_to_json(limits_members, ARRAY_LEN(limits_members), &s->limits));
	json_object_set_new(j, "channels", channels);
	if (s->gpu_count)
		json_object_set_new(j, "gpus", gpus_to_json(s));
	if (s->network.bridge || s->network.peer_count)
		json_object_set_new(j, "network", network_to_json(&s->network));
	if (s->s3.endpoint)
		json_object_set_new(j, "s3", members_to_json(s3_members, ARRAY_LEN(s3_members), &s->s3));
	return j;
}

/* ---- reading ---- */

static int refuse(const char *where, const char *name, const char *why, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s%s: %s", where, name, why);
}

static int text_from_json(const struct member *m, const char *where, const json_t *v, char **at, struct err *e)
{
	struct str s = { json_string_value(v), json_string_length(v) };
	bool chosen = !m->choices;

	if (!json_is_string(v))
		return refuse(where, m->name, "not a string", e);
	if ((double)s.n > m->max)
		return refuse(where, m->name, "too long", e);
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || (!m->free && ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)))
			return refuse(where, m->name, "holds a control character", e);
	for (size_t i = 0; m->choices && m->choices[i]; i++)
		chosen |= str_is(s, m->choices[i]);
	if (!chosen || !utf8_valid(s) || (m->check && !m->check(s)))
		return refuse(where, m->name, "not a value it can have", e);
	*at = str_dup(s);
	return 0;
}

static int number_from_json(const struct member *m, const char *where, const json_t *v, void *at, struct err *e)
{
	double d = json_number_value(v);

	if (m->form == FORM_REAL ? !json_is_number(v) : !json_is_integer(v))
		return refuse(where, m->name, m->form == FORM_REAL ? "not a number" : "not an integer", e);
	if ((m->min != 0 || m->max != 0) && !(d >= m->min && d <= m->max))
		return err_set(e, ERR_INVALID, "%s%s: %g is not from %g to %g", where, m->name, d, m->min, m->max);
	if (m->form == FORM_REAL)
		*(double *)at = d;
	else if (m->form == FORM_U64)
		*(uint64_t *)at = (uint64_t)json_integer_value(v);
	else if (m->form == FORM_UINT)
		*(unsigned *)at = (unsigned)json_integer_value(v);
	else
		*(int64_t *)at = json_integer_value(v);
	return 0;
}

static int bool_from_json(const struct member *m, const char *where, const json_t *v, bool *at, struct err *e)
{
	if (!json_is_boolean(v))
		return refuse(where, m->name, "neither true nor false", e);
	*at = json_is_true(v);
	return 0;
}

static int place_from_json(const struct member *m, const char *where, const json_t *v, enum place *at, struct err *e)
{
	for (size_t i = 0; places[i]; i++)
		if (json_is_string(v) && strcmp(json_string_value(v), places[i]) == 0) {
			*at = (enum place)i;
			return 0;
		}
	return refuse(where, m->name, "not \"embedded\", \"remote\" or \"file-system\"", e);
}

/* Fills base, of which texts are NULL before, from the object j; `also` are names that the caller reads itself. */
static int members_from_json(const struct member *m, size_t n, const char *where, const char *const *also,
                             const json_t *j, void *base, struct err *e)
{
	const char *key;
	json_t *v;

	if (!json_is_object(j))
		return err_set(e, ERR_INVALID, "%s not an object", *where ? where : "the specification is");
	json_object_foreach ((json_t *)j, key, v) {
		bool known = false;

		for (size_t i = 0; i < n && !known; i++)
			known = strcmp(key, m[i].name) == 0;
		for (size_t i = 0; also && also[i] && !known; i++)
			known = strcmp(key, also[i]) == 0;
		if (!known)
			return err_set(e, ERR_INVALID, "%s'%.64s' is not a member that there is", where, key);
	}
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + m[i].offset;
		int rc;

		v = json_object_get(j, m[i].name);
		if (!v && m[i].optional)
			continue;
		if (!v)
			return refuse(where, m[i].name, "missing", e);
		if (m[i].form == FORM_TEXT)
			rc = text_from_json(&m[i], where, v, at, e);
		else if (m[i].form == FORM_BOOL)
			rc = bool_from_json(&m[i], where, v, at, e);
		else if (m[i].form == FORM_PLACE)
			rc = place_from_json(&m[i], where, v, at, e);
		else
			rc = number_from_json(&m[i], where, v, at, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* A channel is of S3 or of a file system, and has that one's members and not the other's. */
static int check_members(const struct channel_spec *c, const char *where, struct err *e)
{
	const struct {
		const char *name, *value;
		bool of_s3;
	} members[] = { { "s3_data_type", c->s3_data_type, true },
		        { "s3_uri", c->s3_uri, true },
		        { "bucket", c->bucket, true },
		        { "prefix", c->prefix, true },
		        { "list", c->list, true },
		        { "file_system_id", c->file_system_id, false },
		        { "file_system_type", c->file_system_type, false },
		        { "file_system_access", c->file_system_access, false },
		        { "directory_path", c->directory_path, false } };
	bool is_s3 = c->place != PLACE_FILE_SYSTEM;

	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if ((members[i].of_s3 == is_s3) != (members[i].value != NULL) &&
		    !(c->place == PLACE_REMOTE && strcmp(members[i].name, "list") == 0))
			return refuse(where, members[i].name, members[i].value ? "not for this place" : "missing", e);
	return 0;
}

static int channel_check(const struct job_spec *s, size_t at, const char *where, struct err *e)
{
	const struct channel_spec *c = &s->channels[at];

	if (check_members(c, where, e) < 0)
		return -1;
	if (c->share_number >= c->share_count)
		return refuse(where, "share_number", "not less than share_count", e);
	if (c->place == PLACE_REMOTE && !s->s3.endpoint)
		return refuse("", "s3", "missing, and a channel's data is remote", e);
	for (size_t i = 0; i < at; i++)
		if (strcmp(s->channels[i].name, c->name) == 0)
			return refuse(where, "name", "another channel has this name", e);
	return 0;
}

static int channels_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j))
		return refuse("", "channels", "not an array", e);
	if (n > SPEC_MAX_CHANNELS)
		return refuse("", "channels", "too many", e);
	s->channels = xcalloc(n ? n : 1, sizeof(*s->channels));
	s->channel_count = n;
	for (size_t i = 0; i < n; i++) {
		char where[32];

		snprintf(where, sizeof(where), "channels[%zu].", i);
		if (members_from_json(channel_members, ARRAY_LEN(channel_members), where, NULL, json_array_get(j, i),
		                      &s->channels[i], e) < 0 ||
		    channel_check(s, i, where, e) < 0)
			return -1;
	}
	return 0;
}

static int network_from_json(const json_t *j, struct network_spec *n, unsigned hosts, struct err *e)
{
	static const char *const also[] = { "kind", "peers", NULL };
	const json_t *peers = json_object_get(j, "peers");
	const char *kind = json_string_value(json_object_get(j, "kind"));
	size_t count = json_array_size(peers);

	if (!kind || (strcmp(kind, "bridge") != 0 && strcmp(kind, "machine") != 0))
		return refuse("network.", "kind", "not \"bridge\" or \"machine\"", e);
	if (strcmp(kind, "bridge") == 0
	            ? members_from_json(network_members, ARRAY_LEN(network_members), "network.", also, j, n, e) < 0
	            : members_from_json(machine_members, ARRAY_LEN(machine_members), "network.", also, j, n, e) < 0)
		return -1;
	if (!json_is_array(peers) || count != hosts)
		return refuse("network.", "peers", "not an array of all hosts", e);
	n->peers = xcalloc(count, sizeof(*n->peers));
	n->peer_count = count;
	for (size_t i = 0; i < count; i++) {
		char where[40];

		snprintf(where, sizeof(where), "network.peers[%zu].", i);
		if (members_from_json(peer_members, ARRAY_LEN(peer_members), where, NULL, json_array_get(peers, i),
		                      &n->peers[i], e) < 0)
			return -1;
		if (!n->private_key != !n->peers[i].public_key)
			return refuse(where, "public_key", "to be there as private_key is", e);
	}
	return 0;
}

static bool gpu_ok(struct str s)
{
	return s.n > 0 && s.n <= 255 && only(s, DIGITS LOWER UPPER "._-:/=");
}

static int gpus_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j) || n > SPEC_MAX_GPUS)
		return refuse("", "gpus", "not an array of a few names", e);
	s->gpu = xcalloc(n + 1, sizeof(*s->gpu));
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(j, i);
		struct str name = { json_string_value(v), json_string_length(v) };

		if (!json_is_string(v) || !gpu_ok(name))
			return refuse("", "gpus", "holds what is not the name of a GPU", e);
		for (size_t k = 0; k < i; k++)
			if (str_is(name, s->gpu[k]))
				return refuse("", "gpus", "names one twice", e);
		s->gpu[s->gpu_count++] = str_dup(name);
	}
	return 0;
}

static int whole_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	static const char *const also[] = { "v", "request", "limits", "channels", "s3", "network", "gpus", NULL };
	const json_t *v = json_object_get(j, "v"), *s3 = json_object_get(j, "s3"),
	             *network = json_object_get(j, "network"), *gpus = json_object_get(j, "gpus");

	if (json_is_object(j) && (!json_is_integer(v) || json_integer_value(v) != SPEC_VERSION))
		return err_set(e, ERR_INVALID, "v: this program reads version %d of the specification only",
		               SPEC_VERSION);
	if (members_from_json(spec_members, ARRAY_LEN(spec_members), "", also, j, s, e) < 0)
		return -1;
	if (s->host_number > s->host_count)
		return refuse("", "host_number", "more than host_count", e);
	if (s->output_place == PLACE_FILE_SYSTEM)
		return refuse("", "output_place", "a file system is for channels only", e);
	if (!json_is_object(json_object_get(j, "request")))
		return refuse("", "request", "not an object", e);
	s->request = json_incref(json_object_get(j, "request"));
	if (members_from_json(limits_members, ARRAY_LEN(limits_members), "limits.", NULL, json_object_get(j, "limits"),
	                      &s->limits, e) < 0)
		return -1;
	if (s3 && members_from_json(s3_members, ARRAY_LEN(s3_members), "s3.", NULL, s3, &s->s3, e) < 0)
		return -1;
	if (network && network_from_json(network, &s->network, s->host_count, e) < 0)
		return -1;
	if (gpus && gpus_from_json(gpus, s, e) < 0)
		return -1;
	if (s->output_place == PLACE_REMOTE && !s3)
		return refuse("", "s3", "missing, and the output is remote", e);
	return channels_from_json(json_object_get(j, "channels"), s, e);
}

int spec_from_json(const json_t *j, struct job_spec *ret, struct err *e)
{
	struct job_spec s = { 0 };

	if (whole_from_json(j, &s, e) < 0) {
		spec_fini(&s);
		return -1;
	}
	*ret = s;
	return 0;
}

int spec_load(const char *job_dir, struct job_spec *ret, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/spec.json", job_dir);
	_cleanup_close_ int dir = open(job_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	json_error_t why;
	json_t *j;
	int rc;

	if (dir < 0)
		return err_sys(e, "opening %s", job_dir);
	if (file_read_plain(dir, "spec.json", SPEC_MAX_BYTES, &text, e) < 0)
		return err_in(e, "%s", job_dir);
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_set(e, ERR_SYNTAX, "%s:%d:%d: %s", path, why.line, why.column, why.text);
	rc = spec_from_json(j, ret, e);
	json_decref(j);
	return rc < 0 ? err_in(e, "%s", path) : 0;
}

int spec_save(int job_dirfd, const struct job_spec *s, struct err *e)
{
	json_t *j = spec_to_json(s);
	_cleanup_free_ char *text = json_dumps(j, JSON_INDENT(1));
	struct job_spec check = { 0 };
	int rc;

	/* What the reader would refuse is found here, where it can still be said to somebody. */
	rc = spec_from_json(j, &check, e);
	if (rc == 0) {
		spec_fini(&check);
		must(text);
		rc = file_write_atomic(job_dirfd, "spec.json", str_of(text), 0600, true, e);
	}
	json_decref(j);
	return rc < 0 ? err_in(e, "writing spec.json") : 0;
}

/* ---- freeing ---- */

static void free_texts(const struct member *m, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++)
		if (m[i].form == FORM_TEXT)
			free(*(char **)((char *)base + m[i].offset));
}

void channel_spec_fini(struct channel_spec *ch)
{
	free_texts(channel_members, ARRAY_LEN(channel_members), ch);
	*ch = (struct channel_spec){ 0 };
}

void s3_target_fini(struct s3_target *t)
{
	if (t->secret_key)
		explicit_bzero(t->secret_key, strlen(t->secret_key));
	free_texts(s3_members, ARRAY_LEN(s3_members), t);
	*t = (struct s3_target){ 0 };
}

void network_spec_fini(struct network_spec *n)
{
	if (n->private_key)
		explicit_bzero(n->private_key, strlen(n->private_key));
	free_texts(network_members, ARRAY_LEN(network_members), n);
	for (size_t i = 0; i < n->peer_count; i++)
		free_texts(peer_members, ARRAY_LEN(peer_members), &n->peers[i]);
	free(n->peers);
	*n = (struct network_spec){ 0 };
}

void spec_fini(struct job_spec *s)
{
	free_texts(spec_members, ARRAY_LEN(spec_members), s);
	free_texts(limits_members, ARRAY_LEN(limits_members), &s->limits);
	network_spec_fini(&s->network);
	for (size_t i = 0; i < s->gpu_count; i++)
		free(s->gpu[i]);
	free(s->gpu);
	s3_target_fini(&s->s3);
	for (size_t i = 0; i < s->channel_count; i++)
		channel_spec_fini(&s->channels[i]);
	free(s->channels);
	json_decref(s->request);
	*s = (struct job_spec){ 0 };
}
