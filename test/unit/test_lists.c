/* Channels as they are frozen into spec.json and lists/, and how long their objects stay.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <time.h>

#include "job_world.h"
#include "jobdir/list.h"

#define S3_CHANNEL(name, mode, type, uri, more)               \
	"{\"ChannelName\":\"" name "\",\"InputMode\":\"" mode \
	"\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"" type "\",\"S3Uri\":\"" uri "\"" more "}}}"

/* Creates the job and waits until it was launched or has failed. */
static void create_with(const char *name, const char *channels)
{
	_cleanup_free_ char *more = strf(",\"InputDataConfig\":[%s]", channels);

	CHECK_INT(create_at(name, 1, more, 0, wall_now().ms), 0);
	settle();
}

static void load_spec(const char *name, struct job_spec *ret)
{
	_cleanup_free_ char *id = id_of(name), *dir = strf("%s/jobs/%s", test_tmpdir(), id);

	CHECK_OK(spec_load(dir, ret, e));
}

/* A channel's list as text: an object is KEY(SIZE), a line + and its parts. */
static const char *list_of(const char *name, const struct channel_spec *ch)
{
	_cleanup_free_ char *id = id_of(name), *path = strf("%s/jobs/%s/lists/%s", test_tmpdir(), id, ch->list);
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_free_ uint64_t *offsets = NULL;
	static struct buf out;
	struct list_part part;
	uint64_t count = 0;
	size_t parts;

	buf_reset(&out);
	buf_c(&out, ' ');
	CHECK_OK(list_open(path, &r, e));
	CHECK_OK(list_index(r, &offsets, &count, e));
	CHECK_INT(count, ch->objects);
	for (uint64_t i = 0; i < count; i++) {
		CHECK_OK(list_unit(r, offsets[i], &parts, e));
		buf_z(&out, parts > 1 ? "+" : "");
		for (size_t k = 0; k < parts; k++) {
			CHECK_OK(list_part(r, &part, e));
			if (part.literal)
				buf_f(&out, "'" PRIstr "' ", ARGstr(part.bytes));
			else
				buf_f(&out, PRIstr "%s" PRIstr "(%llu) ", ARGstr(part.object.bucket),
				      part.object.bucket.n ? ":" : "", ARGstr(part.object.key),
				      (unsigned long long)part.object.size);
		}
	}
	return out.p;
}

TEST(a_manifest_is_listed_in_its_own_order)
{
	struct job_spec s = { 0 };

	up();
	put_object("data", "d/a", "1");
	put_object("data", "d/b/c", "22");
	put_object("other", "x", "333");
	put_object("man", "list.json", "[{\"prefix\":\"s3://data/d/\"},\n\"b/c\",\n\"a\",\"b/c\"]");
	put_object("man", "lines.jsonl",
	           "{\"source-ref\":\"s3://other/x\",\"label\":{\"k\": [1, 2.0]},\"name\":\"cat\"}\n"
	           "{\"name\":\"dog\",\"label\":0,\"source-ref\":\"s3://data/d/a\"}\n");
	create_with("j", S3_CHANNEL("list", "File", "ManifestFile", "s3://man/list.json", "") "," S3_CHANNEL(
	                         "lines", "Pipe", "AugmentedManifestFile", "s3://man/lines.jsonl",
	                         ",\"S3DataDistributionType\":\"ShardedByS3Key\",\"AttributeNames\":[\"label\","
	                         "\"source-ref\",\"name\"]"));
	load_spec("j", &s);
	CHECK_INT(s.channel_count, 2);
	CHECK_STR(s.channels[0].bucket, "data");
	CHECK_STR(s.channels[0].prefix, "d/");
	CHECK_STR(s.channels[0].s3_uri, "s3://man/list.json");
	CHECK_INT(s.channels[0].bytes, 5);
	CHECK_STR(list_of("j", &s.channels[0]), " d/b/c(2) d/a(1) d/b/c(2) ");
	CHECK_STR(s.channels[1].bucket, "man");
	CHECK_STR(s.channels[1].prefix, "lines.jsonl");
	CHECK_STR(s.channels[1].distribution, "ShardedByS3Key");
	CHECK_INT(s.channels[1].bytes, 13 + 3 + 3 + 1 + 1 + 3);
	CHECK_STR(list_of("j", &s.channels[1]), " +'{\"k\":[1,2.0]}' other:x(3) 'cat' +'0' data:d/a(1) 'dog' ");
	spec_fini(&s);
	down();
}

TEST(a_bad_manifest_fails_the_job_and_names_the_entry)
{
	static const struct {
		const char *manifest, *want;
	} cases[] = {
		{ "[{\"prefix\":\"s3://data/\"},\"a\",\"b\"]",
		  "Data download failed:In the manifest s3://man/list.json, entry 2 (line 1) names s3://data/b, which "
		  "does not "
		  "exist. Upload it, or take it out of the manifest (channel train)" },
		{ "[{\"prefix\":\"s3://nobody/\"},\"a\"]",
		  "Data download failed:In the manifest s3://man/list.json, entry 1 (line 1) names s3://nobody/a, "
		  "which "
		  "does "
		  "not exist. Upload it, or take it out of the manifest (channel train)" },
		{ "{\"prefix\":\"s3://data/\"}",
		  "Data download failed:The manifest s3://man/list.json is not a JSON array; it is to begin with [ "
		  "{\"prefix\": \"s3://bucket/some/prefix/\"}, ... (channel train)" },
	};

	up();
	put_object("data", "a", "1");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_free_ char *name = strf("bad-%zu", i);
		_cleanup_free_ char *want = strf("Starting Failed (ClientError: %s)", cases[i].want);

		put_object("man", "list.json", cases[i].manifest);
		create_with(name, S3_CHANNEL("train", "File", "ManifestFile", "s3://man/list.json", ""));
		CHECK_SHOWN(name, want);
	}
	put_object("man", "l", "{\"x-ref\":\"s3://data/a\",\"y\":1}\n{\"x-ref\":\"s3://data/b\",\"y\":1}\n");
	create_with("line", S3_CHANNEL("train", "Pipe", "AugmentedManifestFile", "s3://man/l",
	                               ",\"AttributeNames\":[\"y\",\"x-ref\"]"));
	CHECK_SHOWN("line",
	            "Starting Failed (ClientError: Data download failed:In the manifest s3://man/l, line 2, attribute "
	            "\"x-ref\", names s3://data/b, which does not exist. Upload it, or take it out of the manifest "
	            "(channel train))");
	create_with("gone", S3_CHANNEL("train", "File", "ManifestFile", "s3://man/none", ""));
	CHECK_SHOWN(
	        "gone",
	        "Starting Failed (ClientError: Data download failed:The manifest s3://man/none is there no more. It "
	        "was deleted after the job was created; upload it and create the job again (channel train))");
	CHECK(!strstr(asked.p ? asked.p : "", "launch"));
	down();
}

TEST(a_prefix_that_ends_within_a_name_is_no_folder)
{
	struct job_spec s = { 0 };

	up();
	put_object("data", "train-01/x", "1");
	put_object("data", "two/x", "1");
	create_with("inside", S3_CHANNEL("c", "FastFile", "S3Prefix", "s3://data/train", ""));
	CHECK_SHOWN(
	        "inside",
	        "Starting Failed (ClientError: Data download failed:S3Uri \"s3://data/train\" ends within a name: the "
	        "key "
	        "s3://data/train-01/x goes on there. In FastFile mode it is to be a whole object or a folder; end a "
	        "folder's with '/' (channel c))");
	create_with("whole", S3_CHANNEL("a", "FastFile", "S3Prefix", "s3://data/train-01", "") "," S3_CHANNEL(
	                             "b", "FastFile", "S3Prefix", "s3://data/two/x",
	                             "") "," S3_CHANNEL("c", "FastFile", "S3Prefix", "s3://data", ""));
	load_spec("whole", &s);
	CHECK_INT(s.channel_count, 3);
	CHECK_INT(s.channels[2].objects, 2);
	CHECK_INT(s.fastfile_links_max, 5000);
	spec_fini(&s);
	down();
}

TEST(shuffles_groups_and_file_systems_are_in_the_spec)
{
	static const char more[] =
	        ",\"ResourceConfig\":{\"InstanceGroups\":[{\"InstanceGroupName\":\"g\",\"InstanceCount\":1},"
	        "{\"InstanceGroupName\":\"none\",\"InstanceCount\":0}]},\"InputDataConfig\":[" S3_CHANNEL(
	                "away", "File", "S3Prefix", "s3://data/",
	                ",\"InstanceGroupNames\":[\"none\"]") ",{\"ChannelName\":"
	                                                      "\"shuffled\",\"ShuffleConfig\":{\"Seed\":-7},"
	                                                      "\"DataSource\":{\"S3DataSource\":{\"S3DataType\":"
	                                                      "\"S3Prefix\","
	                                                      "\"S3Uri\":\"s3://"
	                                                      "data\",\"InstanceGroupNames\":[\"g\"]}}},{"
	                                                      "\"ChannelName\":\"efs\",\"DataSource\":{"
	                                                      "\"FileSystemDataSource\":{\"FileSystemId\":\"fs-"
	                                                      "0123456789abcdef0\",\"FileSystemAccessMode\":\"rw\","
	                                                      "\"FileSystemType\":\"FSxLustre\",\"DirectoryPath\":\"/"
	                                                      "scratch/x\"}}}]";
	struct job_spec s = { 0 };

	up();
	put_object("data", "a", "1");
	CHECK_INT(create_at("j", 1, more, 0, wall_now().ms), 0);
	settle();
	load_spec("j", &s);
	CHECK_INT(s.channel_count, 2);
	CHECK_STR(s.channels[0].name, "shuffled");
	CHECK(s.channels[0].shuffled);
	CHECK_INT(s.channels[0].shuffle_seed, -7);
	CHECK_INT(s.channels[0].share_count, 1);
	CHECK_STR(s.channels[0].prefix, "");
	CHECK_INT(s.channels[1].place, PLACE_FILE_SYSTEM);
	CHECK(!s.channels[1].s3_uri && !s.channels[1].list && !s.channels[1].shuffled);
	CHECK_STR(s.channels[1].file_system_id, "fs-0123456789abcdef0");
	CHECK_STR(s.channels[1].file_system_type, "FSxLustre");
	CHECK_STR(s.channels[1].file_system_access, "rw");
	CHECK_STR(s.channels[1].directory_path, "/scratch/x");
	CHECK_STR(s.channels[1].distribution, "FullyReplicated");
	spec_fini(&s);
	down();
}

static void train(const char *name)
{
	_cleanup_free_ char *id = id_of(name);

	fact(id, 1, FACT_STARTED, NULL);
	fact(id, 2, FACT_DOWNLOADING, NULL);
	fact(id, 3, FACT_TRAINING, json_pack("{s:i}", "pid", 7));
	CHECK_INT(state_of(name), JOB_TRAINING);
}

static unsigned count_files(void)
{
	_cleanup_free_ char *path = strf("%s/objects", test_tmpdir());
	unsigned n = 0;

	for (int i = 0; i < 256; i++) {
		_cleanup_free_ char *sub = strf("%s/%02x", path, i);
		DIR *d = opendir(sub);

		for (struct dirent *ent; d && (ent = readdir(d));)
			n += ent->d_name[0] != '.';
		if (d)
			closedir(d);
	}
	return n;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

/* Sweeps, and waits until it is done: tasks are done one after the other. */
static unsigned files_after_sweep(const char *name)
{
	sweep_tick(jobs);
	create_with(name, "");
	return count_files();
}

/* Replaced objects stay while a container may read them, over a restart too, and go when it has ended. */
TEST(files_of_lazy_jobs_stay_until_these_have_ended)
{
	static const struct {
		const char *channel;
		bool lazy;
	} cases[] = {
		{ S3_CHANNEL("c", "Pipe", "S3Prefix", "s3://data/", ""), true },
		{ S3_CHANNEL("c", "FastFile", "S3Prefix", "s3://data/", ""), true },
		{ S3_CHANNEL("c", "File", "S3Prefix", "s3://data/", ""), false },
	};

	up();
	free(conf.fastfile_links_max);
	conf.fastfile_links_max = xstrdup("0");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_free_ char *name = strf("job-%zu", i), *one = strf("one-%zu", i), *two = strf("two-%zu", i),
		                    *three = strf("three-%zu", i), *id = NULL;

		put_object("data", "a", one);
		nap(); /* times are milliseconds */
		create_with(name, cases[i].channel);
		id = id_of(name);
		train(name);
		put_object("data", "a", two);
		nap();
		CHECK_INT(files_after_sweep(one), cases[i].lazy ? 2 : 1);
		restart();
		CHECK_INT(live(name)->lazy, cases[i].lazy);
		CHECK_INT(files_after_sweep(two), cases[i].lazy ? 2 : 1);
		fact(id, 4, FACT_EXITED, json_pack("{s:i}", "code", 0));
		fact(id, 5, FACT_UPLOADING, NULL);
		fact(id, 6, FACT_ENDED, ended("ok", ""));
		/* The others are still being launched, and hold what was there when they were created. */
		for (const char *const *other = (const char *const[]){ one, two, NULL }; *other; other++) {
			_cleanup_free_ char *other_id = id_of(*other);

			events->on_lost(events_arg, str_of(other_id), STR("done"), wall_now());
		}
		CHECK_INT(files_after_sweep(three), 1);
		id = (free(id), id_of(three));
		events->on_lost(events_arg, str_of(id), STR("done"), wall_now());
	}
	down();
}
