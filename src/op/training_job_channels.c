/* InputDataConfig of CreateTrainingJob, as far as the request alone tells (contract 2.1, 2.2, 3.6).
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where the service has words for a refusal they are used; the others are by analogy. */
#include "op/training_job.h"

struct channel {
	const json_t *in, *j, *s3, *file_system;
	struct str name, mode;
};

struct str channel_mode(const json_t *in, const json_t *channel)
{
	struct str mode = in_str(channel, "InputMode");

	return mode.n ? mode : in_str(json_object_get(in, "AlgorithmSpecification"), "TrainingInputMode");
}

static struct channel channel_of(const json_t *in, const json_t *j)
{
	const json_t *source = json_object_get(j, "DataSource");

	return (struct channel){ .in = in,
		                 .j = j,
		                 .s3 = json_object_get(source, "S3DataSource"),
		                 .file_system = json_object_get(source, "FileSystemDataSource"),
		                 .name = in_str(j, "ChannelName"),
		                 .mode = channel_mode(in, j) };
}

/* What a mode cannot take, in the service's words for the one case that is known (contract 2.2). */
static int not_in_mode(const struct channel *c, const char *what, const char *only, struct str got, struct err *e)
{
	return err_set(e, ERR_INVALID,
	               "Invalid %s for channel " PRIstr ": " PRIstr " mode only supports %s, got " PRIstr " instead",
	               what, ARGstr(c->name), ARGstr(c->mode), only, ARGstr(got));
}

static int check_mode(const struct channel *c, struct err *e)
{
	struct str compression = in_str(c->j, "CompressionType"), wrapper = in_str(c->j, "RecordWrapperType");
	struct str type = in_str(c->s3, "S3DataType");

	if (str_is(c->mode, "Pipe"))
		return 0;
	if (str_is(compression, "Gzip"))
		return not_in_mode(c, "compression type", "NONE", compression, e);
	if (str_is(wrapper, "RecordIO"))
		return not_in_mode(c, "record wrapper type", "NONE", wrapper, e);
	if (str_is(c->mode, "FastFile") && !str_is(type, "S3Prefix") && c->s3)
		return not_in_mode(c, "S3 data type", "S3Prefix", type, e);
	if (str_is(type, "AugmentedManifestFile"))
		return not_in_mode(c, "S3 data type", "S3Prefix and ManifestFile", type, e);
	return 0;
}

static int check_attributes(const struct channel *c, struct err *e)
{
	bool augmented = str_is(in_str(c->s3, "S3DataType"), "AugmentedManifestFile");
	size_t names = json_array_size(json_object_get(c->s3, "AttributeNames"));

	if (augmented && !names)
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr
		               " is an AugmentedManifestFile and has no AttributeNames; "
		               "name the attributes of its lines that are to be read, in their order",
		               ARGstr(c->name));
	if (!augmented && names)
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr
		               " has AttributeNames, which only an AugmentedManifestFile "
		               "can have; leave them out, or use that S3DataType",
		               ARGstr(c->name));
	return 0;
}

static bool is_group(const json_t *in, struct str name)
{
	const json_t *groups = json_object_get(json_object_get(in, "ResourceConfig"), "InstanceGroups"), *g;
	size_t i;

	json_array_foreach (groups, i, g)
		if (str_eq(name, in_str(g, "InstanceGroupName")))
			return true;
	return false;
}

static int check_group_names(const struct channel *c, struct err *e)
{
	const json_t *names = json_object_get(c->s3, "InstanceGroupNames"), *v;
	size_t i;

	json_array_foreach (names, i, v) {
		struct str name = { json_string_value(v), json_string_length(v) };

		if (!is_group(c->in, name))
			return err_set(e, ERR_INVALID,
			               "InputDataConfig: channel " PRIstr " is for instance group '" PRIstr
			               "', which ResourceConfig.InstanceGroups does not name",
			               ARGstr(c->name), ARGstr(name));
	}
	return 0;
}

static int check_s3(const struct channel *c, struct err *e)
{
	bool manifest = !str_is(in_str(c->s3, "S3DataType"), "S3Prefix");
	struct str bucket, key;

	if (!s3_uri_split(in_str(c->s3, "S3Uri"), &bucket, &key))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: S3Uri of channel " PRIstr " is to have the form s3://bucket/prefix",
		               ARGstr(c->name));
	if (manifest && !key.n)
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: S3Uri of channel " PRIstr
		               " is to be the manifest, of the form s3://bucket/key",
		               ARGstr(c->name));
	return check_attributes(c, e) < 0 ? -1 : check_group_names(c, e);
}

static int check_file_system(const struct channel *c, struct err *e)
{
	struct str path = in_str(c->file_system, "DirectoryPath");

	if (!str_is(c->mode, "File"))
		return err_set(e, ERR_INVALID,
		               "Invalid input mode for channel " PRIstr
		               ": FileSystemDataSource only supports File, got " PRIstr " instead",
		               ARGstr(c->name), ARGstr(c->mode));
	if (!path.n || path.p[0] != '/' || str_has_byte(path, 0))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: DirectoryPath of channel " PRIstr " is to be an absolute path",
		               ARGstr(c->name));
	return 0;
}

static int check_channel(const struct channel *c, struct err *e)
{
	if (str_is(c->name, ".") || str_is(c->name, ".."))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: a channel cannot be called '" PRIstr "'; its name becomes "
		               "a directory below /opt/ml/input/data",
		               ARGstr(c->name));
	if (c->s3 && c->file_system)
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr
		               " has both S3DataSource and FileSystemDataSource; give one of them",
		               ARGstr(c->name));
	if (!c->s3 && !c->file_system)
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr
		               " has no data source; give S3DataSource or FileSystemDataSource",
		               ARGstr(c->name));
	if (c->file_system ? check_file_system(c, e) < 0 : check_s3(c, e) < 0)
		return -1;
	return check_mode(c, e);
}

/* ---- what stands beside one another below /opt/ml/input/data ---- */

/* "_" and a number as epochs are written. */
static bool is_epoch(struct str s)
{
	uint64_t n;

	return str_skip(&s, STR("_")) && str_to_u64(s, &n) && (s.p[0] != '0' || s.n == 1);
}

/* Whether b's name is a name that a puts there besides its own. */
static int check_pair(const struct channel *a, const struct channel *b, struct err *e)
{
	bool a_piped = str_is(a->mode, "Pipe"), b_piped = str_is(b->mode, "Pipe");
	struct str rest = b->name;

	if (!str_skip(&rest, a->name))
		return 0;
	if (a_piped && is_epoch(rest))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr " cannot be called so beside the Pipe channel " PRIstr
		               ", which has a FIFO of that name for each epoch",
		               ARGstr(b->name), ARGstr(a->name));
	if (!a_piped && !b_piped && a->s3 && str_is(rest, "-manifest"))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: channel " PRIstr " cannot be called so beside channel " PRIstr
		               ", which has a file of that name",
		               ARGstr(b->name), ARGstr(a->name));
	return 0;
}

int training_job_check_channel(const json_t *in, size_t item, struct err *e)
{
	const json_t *channels = json_object_get(in, "InputDataConfig");
	struct channel c = channel_of(in, json_array_get(channels, item));

	if (check_channel(&c, e) < 0)
		return -1;
	for (size_t k = 0; k < item; k++) {
		struct channel other = channel_of(in, json_array_get(channels, k));

		if (str_eq(c.name, other.name))
			return err_set(e, ERR_INVALID,
			               "InputDataConfig: duplicate channel name '" PRIstr
			               "'; names must be unique within a job",
			               ARGstr(c.name));
		if (check_pair(&c, &other, e) < 0 || check_pair(&other, &c, e) < 0)
			return -1;
	}
	return 0;
}

int training_job_check_channels(const json_t *in, struct err *e)
{
	size_t n = json_array_size(json_object_get(in, "InputDataConfig"));

	for (size_t i = 0; i < n; i++)
		if (training_job_check_channel(in, i, e) < 0)
			return -1;
	return 0;
}
