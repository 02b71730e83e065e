/* What a pre-flight says besides what CreateTrainingJob checks: rules of AWS that this server does not have, and what
 * is allowed everywhere and rarely meant. SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>

#include "job/jobs.h"
#include "metric/metric.h"
#include "op/preflight_inside.h"

#define GIB ((uint64_t)1 << 30)

enum { MANY_OBJECTS = 100000, AWS_VOLUME_GB = 16384, QUOTA_RUNTIME_S = 5 * 86400 };

/* ---- the image ---- */

/* <12 digits>.dkr.ecr.<region>.amazonaws.com[.cn]; *ret_region views host. */
static bool is_ecr(struct str host, struct str *ret_region)
{
	struct str account = str_cut(&host, '.');

	if (account.n != 12 || !str_skip(&host, STR("dkr.ecr.")))
		return false;
	for (size_t i = 0; i < account.n; i++)
		if (!isdigit((unsigned char)account.p[i]))
			return false;
	*ret_region = str_cut(&host, '.');
	return str_is(host, "amazonaws.com") || str_is(host, "amazonaws.com.cn");
}

void preflight_image_name(struct preflight *f, struct str image)
{
	const json_t *config = json_object_get(json_object_get(f->in, "AlgorithmSpecification"), "TrainingImageConfig");
	bool vpc = str_is(in_str(config, "TrainingRepositoryAccessMode"), "Vpc");
	struct str rest = image, host = str_cut(&rest, '/'), region;

	if (is_ecr(host, &region)) {
		if (!str_is(region, f->call->api->region))
			preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "TrainingImage",
			               "push it to the registry of the job's region",
			               "the image is in the registry of region " PRIstr ", the job in %s",
			               ARGstr(region), f->call->api->region);
		return;
	}
	if (!vpc) {
		preflight_note(
		        f, PREFLIGHT_FAILS_ON_AWS, "TrainingImage",
		        "for AWS push it to ECR and name it ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG, which finds "
		        "the same image here, too",
		        "%.*s is no name of ECR, and AWS takes images from nowhere else",
		        (int)(image.n < 200 ? image.n : 200), image.p);
		return;
	}
	if (!json_object_get(f->in, "VpcConfig"))
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "AlgorithmSpecification.TrainingImageConfig",
		               "name subnets and security groups in VpcConfig",
		               "a registry that is reached through a VPC needs a VpcConfig at AWS");
}

/* Of the types that train only this family has CPUs of arm64. */
static bool is_arm(struct str type)
{
	return str_starts(type, STR("ml.p6e-"));
}

void preflight_machine(struct preflight *f, struct str type)
{
	struct str machine = in_str(f->program, "Machine");

	if (!machine.n)
		machine = in_str(f->image, "Architecture");
	if (str_is(machine, "arm64") && !is_arm(type))
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "Architecture",
		               "build it for amd64 (docker build --platform linux/amd64)",
		               "the image is for arm64, and " PRIstr " at AWS for amd64",
		               ARGstr(type.n ? type : STR("nearly every instance type for training is")));
	else if (str_is(machine, "amd64") && is_arm(type))
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "Architecture",
		               "build it for arm64 (docker build --platform linux/arm64)",
		               "the image is for amd64, and " PRIstr " at AWS for arm64", ARGstr(type));
}

/* ---- metrics ---- */

/* The text of the first capture group, without its parentheses; empty: it has none. */
static struct str first_group(struct str regex)
{
	bool set = false;

	for (size_t i = 0; i < regex.n; i++) {
		char c = regex.p[i];

		if (c == '\\') {
			i++;
		} else if (set) {
			set = c != ']';
		} else if (c == '[') {
			set = true;
		} else if (c == '(' && (i + 1 == regex.n || regex.p[i + 1] != '?')) {
			struct str rest = { regex.p + i + 1, regex.n - i - 1 };
			return str_cut(&rest, ')');
		}
	}
	return (struct str){ "", 0 };
}

/* "7E-5" as "7": a group of digits and dots that has no way to go on with an exponent. */
static bool loses_exponents(struct str group)
{
	if (!group.n || (str_find(group, STR("0-9")) < 0 && str_find(group, STR("\\d")) < 0))
		return false;
	return !str_has_byte(group, 'e') && !str_has_byte(group, 'E') && str_find(group, STR("\\S")) < 0 &&
	       str_find(group, STR(".*")) < 0 && str_find(group, STR(".+")) < 0;
}

void preflight_metrics(struct preflight *f, const json_t *definitions, const char *where)
{
	const json_t *d;
	size_t i;

	json_array_foreach (definitions, i, d) {
		_cleanup_free_ char *at = strf("%s[%zu].Regex", where, i);
		struct str regex = in_str(d, "Regex");
		unsigned groups = 0;

		if (metric_check(regex, &groups, NULL) < 0)
			continue; /* told before */
		if (!groups)
			preflight_note(f, PREFLIGHT_WARNING, at,
			               "put parentheses around the number: loss=([-+0-9.eE]+)",
			               "the expression of '%s' has no capture group, so its matches have no value",
			               in_str(d, "Name").p);
		else if (loses_exponents(first_group(regex)))
			preflight_note(f, PREFLIGHT_WARNING, at, "capture the exponent, too: ([-+0-9.eE]+)",
			               "the expression of '%s' takes 7e-05 for 7: its group ends before the exponent",
			               in_str(d, "Name").p);
	}
}

/* ---- the request ---- */

static void note_role(struct preflight *f)
{
	struct str rest = in_str(f->in, "RoleArn"), account;

	for (int i = 0; i < 4; i++)
		str_cut(&rest, ':');
	account = str_cut(&rest, ':');
	if (str_is(account, "000000000000"))
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "RoleArn", "name a role of your account",
		               "the role is one of account 000000000000, which AWS does not have");
}

static void note_types(struct preflight *f)
{
	const json_t *r = json_object_get(f->in, "ResourceConfig"), *groups = json_object_get(r, "InstanceGroups"), *g;
	json_int_t volume = json_integer_value(json_object_get(r, "VolumeSizeInGB"));
	struct str type = in_str(r, "InstanceType");
	bool local = str_is(type, "local");
	size_t i;

	json_array_foreach (groups, i, g)
		local |= str_is(in_str(g, "InstanceType"), "local");
	if (local)
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "ResourceConfig.InstanceType",
		               "name a type of AWS, such as ml.m5.large",
		               "the instance type `local`, the whole machine, is this server's own");
	if (volume > AWS_VOLUME_GB)
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "ResourceConfig.VolumeSizeInGB", NULL,
		               "a volume at AWS has at most %d GB, and not %lld", AWS_VOLUME_GB, (long long)volume);
}

static void note_stopping(struct preflight *f)
{
	const json_t *s = json_object_get(f->in, "StoppingCondition");
	bool spot = json_is_true(json_object_get(f->in, "EnableManagedSpotTraining"));

	if (json_integer_value(json_object_get(s, "MaxRuntimeInSeconds")) > QUOTA_RUNTIME_S)
		preflight_note(f, PREFLIGHT_WARNING, "StoppingCondition.MaxRuntimeInSeconds",
		               "ask AWS for more, or for less time",
		               "an account at AWS has a quota of 5 days for a job unless more was asked for");
	if (spot && !json_object_get(s, "MaxWaitTimeInSeconds"))
		preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "StoppingCondition.MaxWaitTimeInSeconds",
		               "give one that is at least MaxRuntimeInSeconds",
		               "managed spot training needs MaxWaitTimeInSeconds at AWS");
	if (spot && !json_object_get(f->in, "CheckpointConfig"))
		preflight_note(f, PREFLIGHT_WARNING, "CheckpointConfig",
		               "give one, and have the program go on from what it finds",
		               "a spot job without checkpoints begins anew after every interruption");
}

static void note_file_systems(struct preflight *f)
{
	const json_t *channels = json_object_get(f->in, "InputDataConfig"), *c;
	size_t i;

	json_array_foreach (channels, i, c)
		if (json_object_get(json_object_get(c, "DataSource"), "FileSystemDataSource") &&
		    !json_object_get(f->in, "VpcConfig")) {
			preflight_note(f, PREFLIGHT_FAILS_ON_AWS, "VpcConfig",
			               "name subnets and security groups of the file system",
			               "a channel is a file system, which jobs at AWS reach through a VpcConfig only");
			return;
		}
}

/* What SDKs encode for their own images is decoded there, and nowhere else. */
static void note_quotes(struct preflight *f)
{
	json_t *all = json_object_get(f->in, "HyperParameters"), *v;
	const char *name;

	if (json_object_get(all, "sagemaker_program"))
		return;
	json_object_foreach (all, name, v) {
		struct str s = { json_string_value(v), json_string_length(v) };

		if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"') {
			_cleanup_free_ char *where = strf("HyperParameters.%s", name);

			preflight_note(
			        f, PREFLIGHT_WARNING, where, "leave them out, unless the program decodes JSON",
			        "the value begins and ends with a quotation mark, which the program will find in it");
		}
	}
}

void preflight_request(struct preflight *f)
{
	const json_t *algorithm = json_object_get(f->in, "AlgorithmSpecification");

	if (in_str(algorithm, "TrainingImage").n)
		preflight_image_name(f, in_str(algorithm, "TrainingImage"));
	note_role(f);
	note_types(f);
	note_stopping(f);
	note_file_systems(f);
	note_quotes(f);
	preflight_metrics(f, json_object_get(algorithm, "MetricDefinitions"),
	                  "AlgorithmSpecification.MetricDefinitions");
}

/* ---- data ---- */

/* What a channel takes of a host's volume: here what is copied, at AWS all of File mode. */
static void add_room(const struct preflight *f, size_t i, const json_t *channel, uint64_t *here, uint64_t *aws)
{
	const json_t *c = json_array_get(json_object_get(f->in, "InputDataConfig"), i);
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(channel, "Bytes"));
	json_int_t shares = json_integer_value(json_object_get(channel, "Shares"));

	if (!str_is(channel_mode(f->in, c), "File") || shares < 1)
		return;
	*aws += bytes / (uint64_t)shares;
	if (json_is_true(json_object_get(channel, "Copied")))
		*here += bytes / (uint64_t)shares;
}

static void note_channel(struct preflight *f, size_t i, const json_t *channel)
{
	const json_t *c = json_array_get(json_object_get(f->in, "InputDataConfig"), i);
	_cleanup_free_ char *where = strf("InputDataConfig[%zu]", i);
	const char *fault = json_string_value(json_object_get(channel, "Fault"));
	const char *unknown = json_string_value(json_object_get(channel, "Unknown"));
	json_int_t objects = json_integer_value(json_object_get(channel, "Objects"));
	json_int_t shares = json_integer_value(json_object_get(channel, "Shares"));
	struct str name = in_str(channel, "ChannelName");

	if (fault)
		preflight_note(f, PREFLIGHT_FAILS_HERE, where, NULL, "%s", fault);
	if (unknown)
		preflight_note(f, PREFLIGHT_WARNING, where, NULL, "its objects could not be counted: %s", unknown);
	if (objects > MANY_OBJECTS && str_is(channel_mode(f->in, c), "File"))
		preflight_note(f, PREFLIGHT_WARNING, where, "use FastFile, or fewer and larger objects",
		               "channel " PRIstr
		               " has %lld objects, which File mode fetches one by one before the start",
		               ARGstr(name), (long long)objects);
	if (shares > 1 && objects && objects < shares)
		preflight_note(f, PREFLIGHT_WARNING, where, "have at least as many objects as hosts",
		               "channel " PRIstr
		               " is dealt among %lld hosts and has %lld object%s, so some hosts get none",
		               ARGstr(name), (long long)shares, (long long)objects, objects == 1 ? "" : "s");
	if (shares == 0 && json_array_size(json_object_get(f->in, "InputDataConfig")))
		preflight_note(f, PREFLIGHT_WARNING, where, "name an instance group that has hosts",
		               "channel " PRIstr " is for instance groups without hosts, so nobody gets it",
		               ARGstr(name));
}

static void note_room(struct preflight *f, const char *level, uint64_t need, uint64_t volume, const char *place)
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };

	if (need <= volume)
		return;
	buf_bytes(&a, need);
	buf_bytes(&b, volume);
	preflight_note(f, level, "ResourceConfig.VolumeSizeInGB",
	               "raise VolumeSizeInGB, or use FastFile or Pipe mode, which take no room",
	               "the channels in File mode have %s for a host, and its volume%s %s", a.p, place, b.p);
}

void preflight_channels(struct preflight *f)
{
	uint64_t volume = (uint64_t)json_integer_value(
	                          json_object_get(json_object_get(f->in, "ResourceConfig"), "VolumeSizeInGB")) *
	                  GIB;
	uint64_t here = 0, aws = 0, disk = jobs_free_bytes(f->call->api->jobs);
	const json_t *channel;
	size_t i;

	json_array_foreach (f->channels, i, channel) {
		note_channel(f, i, channel);
		add_room(f, i, channel, &here, &aws);
	}
	if (here > volume)
		note_room(f, PREFLIGHT_FAILS, here, volume, " has");
	else
		note_room(f, PREFLIGHT_FAILS_ON_AWS, aws, volume,
		          " (which here is not needed for what is in the server's "
		          "own store) has");
	if (disk && volume > disk) {
		_cleanup_buf_ struct buf a = { 0 };

		buf_bytes(&a, disk);
		preflight_note(f, PREFLIGHT_WARNING, "ResourceConfig.VolumeSizeInGB", NULL,
		               "the disk of this server has %s free, so the volume would be no larger here", a.p);
	}
}
