/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/spec.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/jobdir.h"
#include "jobdir/members.h"

static bool account_ok(struct str s)
{
	return s.n == 12 && member_only(s, DIGITS);
}

static bool label_ok(struct str s)
{
	return s.n > 0 && member_only(s, DIGITS LOWER UPPER "-");
}

static bool type_ok(struct str s)
{
	return s.n > 0 && member_only(s, DIGITS LOWER ".-");
}

static bool channel_name_ok(struct str s)
{
	return member_leaf_ok(s) && member_only(s, DIGITS LOWER UPPER ".-_");
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
	return s.n == 11 && str_skip(&s, STR("blm")) && member_only(s, DIGITS "abcdef");
}

static bool address_ok(struct str s)
{
	return s.n >= 7 && member_only(s, DIGITS "."); /* read by net/, which knows more of them */
}

static bool key_ok(struct str s)
{
	return s.n == 64 && member_only(s, DIGITS "abcdef");
}

static bool url_ok(struct str s)
{
	return str_starts(s, STR("http://")) || str_starts(s, STR("https://"));
}

/* They stand in headers and request lines. */
static bool token_ok(struct str s)
{
	return s.n > 0 && member_only(s, DIGITS LOWER UPPER ".-_");
}

static bool credentials_path_ok(struct str s)
{
	return str_skip(&s, STR("/v2/credentials/")) && token_ok(s);
}

static bool instance_ok(struct str s)
{
	return s.n == 19 && str_skip(&s, STR("i-0")) && member_only(s, DIGITS "abcdef");
}

static const char *const kinds[] = { "training", "transform", NULL };
static const char *const input_modes[] = { "File", "Pipe", "FastFile", NULL };
static const char *const distributions[] = { "FullyReplicated", "ShardedByS3Key", NULL };
static const char *const wrappers[] = { "None", "RecordIO", NULL };
static const char *const compressions[] = { "None", "Gzip", NULL };
static const char *const data_types[] = { "S3Prefix", "ManifestFile", "AugmentedManifestFile", NULL };
static const char *const file_system_types[] = { "EFS", "FSxLustre", NULL };
static const char *const accesses[] = { "ro", "rw", NULL };
/* clang-format off */
static const struct member spec_members[] = {
	{ AT(job_spec, kind), .optional = true, .choices = kinds, .max = 16 },
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
	{ AT(job_spec, image), .optional = true, .free = true, .max = 4 * 255 },
	{ AT(job_spec, instance), .optional = true, .check = instance_ok, .max = 19 },
	{ AT(job_spec, max_runtime_s), FORM_I64, .optional = true, .min = 1, .max = 31622400 },
	{ AT(job_spec, stop_grace_s), FORM_I64, .min = 0, .max = 86400 },
	{ AT(job_spec, output_place), FORM_PLACE },
	{ AT(job_spec, output_bucket), .check = member_bucket_ok, .max = 255 },
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
	{ AT(channel_spec, bucket), .optional = true, .check = member_bucket_ok, .max = 255 },
	{ AT(channel_spec, prefix), .optional = true, .free = true, .max = 4 * 1024 },
	{ AT(channel_spec, list), .optional = true, .check = member_leaf_ok, .max = 255 },
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
	if (s->container_count)
		json_object_set_new(j, "containers", containers_to_json(s));
	if (s->additional)
		json_object_set_new(j, "additional", model_to_json(s->additional));
	if (s->gpu_count)
		json_object_set_new(j, "gpus", gpus_to_json(s));
	if (s->network.bridge || s->network.peer_count)
		json_object_set_new(j, "network", network_to_json(&s->network));
	if (s->s3.endpoint)
		json_object_set_new(j, "s3", members_to_json(s3_members, ARRAY_LEN(s3_members), &s->s3));
	return j;
}

/* ---- reading ---- */

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
			return member_refuse(where, members[i].name,
			                     members[i].value ? "not for this place" : "missing", e);
	return 0;
}

static int channel_check(const struct job_spec *s, size_t at, const char *where, struct err *e)
{
	const struct channel_spec *c = &s->channels[at];

	if (check_members(c, where, e) < 0)
		return -1;
	if (c->share_number >= c->share_count)
		return member_refuse(where, "share_number", "not less than share_count", e);
	if (c->place == PLACE_REMOTE && !s->s3.endpoint)
		return member_refuse("", "s3", "missing, and a channel's data is remote", e);
	for (size_t i = 0; i < at; i++)
		if (strcmp(s->channels[i].name, c->name) == 0)
			return member_refuse(where, "name", "another channel has this name", e);
	return 0;
}

static int channels_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j))
		return member_refuse("", "channels", "not an array", e);
	if (n > SPEC_MAX_CHANNELS)
		return member_refuse("", "channels", "too many", e);
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
		return member_refuse("network.", "kind", "not \"bridge\" or \"machine\"", e);
	if (strcmp(kind, "bridge") == 0
	            ? members_from_json(network_members, ARRAY_LEN(network_members), "network.", also, j, n, e) < 0
	            : members_from_json(machine_members, ARRAY_LEN(machine_members), "network.", also, j, n, e) < 0)
		return -1;
	if (!json_is_array(peers) || count != hosts)
		return member_refuse("network.", "peers", "not an array of all hosts", e);
	n->peers = xcalloc(count, sizeof(*n->peers));
	n->peer_count = count;
	for (size_t i = 0; i < count; i++) {
		char where[40];

		snprintf(where, sizeof(where), "network.peers[%zu].", i);
		if (members_from_json(peer_members, ARRAY_LEN(peer_members), where, NULL, json_array_get(peers, i),
		                      &n->peers[i], e) < 0)
			return -1;
		if (!n->private_key != !n->peers[i].public_key)
			return member_refuse(where, "public_key", "to be there as private_key is", e);
	}
	return 0;
}

static bool gpu_ok(struct str s)
{
	return s.n > 0 && s.n <= 255 && member_only(s, DIGITS LOWER UPPER "._-:/=");
}

static int gpus_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j) || n > SPEC_MAX_GPUS)
		return member_refuse("", "gpus", "not an array of a few names", e);
	s->gpu = xcalloc(n + 1, sizeof(*s->gpu));
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(j, i);
		struct str name = { json_string_value(v), json_string_length(v) };

		if (!json_is_string(v) || !gpu_ok(name))
			return member_refuse("", "gpus", "holds what is not the name of a GPU", e);
		for (size_t k = 0; k < i; k++)
			if (str_is(name, s->gpu[k]))
				return member_refuse("", "gpus", "names one twice", e);
		s->gpu[s->gpu_count++] = str_dup(name);
	}
	return 0;
}

bool spec_is_transform(const struct job_spec *s)
{
	return s->kind && strcmp(s->kind, "transform") == 0;
}

/* What a kind of job has, the other has not. */
static int check_kind(const struct job_spec *s, struct err *e)
{
	bool transform = spec_is_transform(s);
	const struct {
		const char *name;
		bool there, of_transform;
	} members[] = { { "image", s->image != NULL, false },
		        { "max_runtime_s", s->max_runtime_s != 0, false },
		        { "instance", s->instance != NULL, true },
		        { "containers", s->container_count > 0, true } };

	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].there != (members[i].of_transform == transform))
			return member_refuse("", members[i].name,
			                     members[i].there ? "not for this kind of job" : "missing", e);
	if (transform && s->additional)
		return member_refuse("", "additional", "not for this kind of job", e);
	if (transform && (s->channel_count != 1 || strcmp(s->channels[0].name, "input") != 0 || !s->channels[0].list ||
	                  s->channels[0].shuffled || strcmp(s->channels[0].record_wrapper, "None") != 0))
		return member_refuse("", "channels",
		                     "not what the input of a transform job is: one, with a list, as it is", e);
	return 0;
}

static int whole_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	static const char *const also[] = { "v",       "request", "limits",     "channels",   "s3",
		                            "network", "gpus",    "containers", "additional", NULL };
	const json_t *v = json_object_get(j, "v"), *s3 = json_object_get(j, "s3"),
	             *network = json_object_get(j, "network"), *gpus = json_object_get(j, "gpus");

	if (json_is_object(j) && (!json_is_integer(v) || json_integer_value(v) != SPEC_VERSION))
		return err_set(e, ERR_INVALID, "v: this program reads version %d of the specification only",
		               SPEC_VERSION);
	if (members_from_json(spec_members, ARRAY_LEN(spec_members), "", also, j, s, e) < 0)
		return -1;
	if (s->host_number > s->host_count)
		return member_refuse("", "host_number", "more than host_count", e);
	if (s->output_place == PLACE_FILE_SYSTEM)
		return member_refuse("", "output_place", "a file system is for channels only", e);
	if (!json_is_object(json_object_get(j, "request")))
		return member_refuse("", "request", "not an object", e);
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
		return member_refuse("", "s3", "missing, and the output is remote", e);
	if (channels_from_json(json_object_get(j, "channels"), s, e) < 0)
		return -1;
	if (json_object_get(j, "containers") && containers_from_json(json_object_get(j, "containers"), s, e) < 0)
		return -1;
	if (json_object_get(j, "additional") &&
	    model_from_json(json_object_get(j, "additional"), "", "additional", s, &s->additional, e) < 0)
		return -1;
	return check_kind(s, e);
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

void channel_spec_fini(struct channel_spec *ch)
{
	members_free(channel_members, ARRAY_LEN(channel_members), ch);
	*ch = (struct channel_spec){ 0 };
}

void s3_target_fini(struct s3_target *t)
{
	if (t->secret_key)
		explicit_bzero(t->secret_key, strlen(t->secret_key));
	members_free(s3_members, ARRAY_LEN(s3_members), t);
	*t = (struct s3_target){ 0 };
}

void network_spec_fini(struct network_spec *n)
{
	if (n->private_key)
		explicit_bzero(n->private_key, strlen(n->private_key));
	members_free(network_members, ARRAY_LEN(network_members), n);
	for (size_t i = 0; i < n->peer_count; i++)
		members_free(peer_members, ARRAY_LEN(peer_members), &n->peers[i]);
	free(n->peers);
	*n = (struct network_spec){ 0 };
}

void spec_fini(struct job_spec *s)
{
	members_free(spec_members, ARRAY_LEN(spec_members), s);
	members_free(limits_members, ARRAY_LEN(limits_members), &s->limits);
	network_spec_fini(&s->network);
	for (size_t i = 0; i < s->gpu_count; i++)
		free(s->gpu[i]);
	free(s->gpu);
	s3_target_fini(&s->s3);
	for (size_t i = 0; i < s->channel_count; i++)
		channel_spec_fini(&s->channels[i]);
	free(s->channels);
	containers_fini(s);
	model_free(s->additional);
	json_decref(s->request);
	*s = (struct job_spec){ 0 };
}
