/* How `bloomery describe` words what the server tells of channels. SPDX-License-Identifier: Apache-2.0 */
#include "cli/feeds.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/describe.h"
#include "harness.h"

/* clang-format off */
static const char pipe_text[] =
	"[{'at':1,'host':'algo-1','channels':[{'channel':'train','mode':'Pipe','way':'piped','objects':120,"
	"'bytes':1200000000,'feed':{'epoch':3,'epochs':4,'objects':480,'bytes':4800000000,'stalls_reader':34,"
	"'stalls_store':1,'wait_reader_ms':12345,'wait_store_ms':7,'active_ms':14100},'bottleneck':'trainer'}]}]";
/* clang-format on */

static json_t *load(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);
	json_t *j;

	for (char *p = copy; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	j = json_loads(copy, 0, NULL);
	must(j);
	return j;
}

static char *printed(const json_t *feeds, const char *channel, bool final)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	must(to);
	feeds_print(feeds, channel, final, 2, to);
	must(fclose(to) == 0);
	return text;
}

static json_t *channel_of(json_t *feeds)
{
	return json_array_get(json_object_get(json_array_get(feeds, 0), "channels"), 0);
}

static void set_count(json_t *feeds, const char *member, json_int_t n)
{
	json_object_set_new(json_object_get(channel_of(feeds), "feed"), member, json_integer(n));
}

TEST(a_pipe_whose_trainer_is_slow)
{
	json_t *feeds = load(pipe_text);
	_cleanup_free_ char *text = printed(feeds, "train", false);

	CHECK_STR(text,
	          "  Pipe, written into FIFOs while it is read: 120 objects, 1.1 GiB\n"
	          "  given: 4.5 GiB, 480 objects, 4 epochs opened, the newest is 3; 324.7 MiB/s in the 14.1 s that it "
	          "was read\n"
	          "  waited: 12.3 s for the trainer (34 times), 0.0 s for data (1 time)\n"
	          "  The trainer is the bottleneck: data waited for it 88 % of that time.\n");
	json_decref(feeds);
}

TEST(the_sentence_says_what_is_known)
{
	static const struct {
		const char *bottleneck;
		int epochs, bytes, active_ms;
		bool final;
		const char *says;
	} rows[] = {
		{ "data", 1, 1, 14000, false,
		  "The data is the bottleneck: the trainer waited for it 0 % of that time." },
		{ "neither", 1, 1, 1000, true, "Neither the trainer nor the data holds up the other." },
		{ "neither", 1, 1, 999, true, "It has not been read for long enough" },
		{ NULL, 1, 1, 14, true, "It has not been read for long enough" },
		{ "from another version", 1, 1, 14, true, "It has not been read for long enough" },
		{ NULL, 0, 0, 0, false, "Nobody has read it yet." },
		{ NULL, 0, 0, 0, true, "Nobody has read it." },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *feeds = load(pipe_text);
		_cleanup_free_ char *text = NULL;

		set_count(feeds, "epochs", rows[i].epochs);
		set_count(feeds, "bytes", rows[i].bytes);
		set_count(feeds, "active_ms", rows[i].active_ms);
		json_object_del(channel_of(feeds), "bottleneck");
		if (rows[i].bottleneck)
			json_object_set_new(channel_of(feeds), "bottleneck", json_string(rows[i].bottleneck));
		text = printed(feeds, "train", rows[i].final);
		if (!strstr(text, rows[i].says))
			test_failed(__FILE__, __LINE__, "no '%s' in:\n%s", rows[i].says, text);
		json_decref(feeds);
	}
}

TEST(channels_that_are_in_place)
{
	json_t *feeds = load("[{'host':'algo-1','channels':["
	                     "{'channel':'a','mode':'File','way':'placed','objects':1,'bytes':999,'seconds':0.25},"
	                     "{'channel':'b','mode':'FastFile','way':'linked','objects':2,'bytes':999999999},"
	                     "{'channel':'c','mode':'File','way':'mounted'}]}]");
	static const char *const want[] = {
		"  File, in place before the container started: 1 object, 999 bytes, in 0.2 s\n",
		"  FastFile, links to the store's files, nothing copied: 2 objects, 953.7 MiB\n",
		"  File, a file system that is mounted\n",
		"",
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		_cleanup_free_ char *text = printed(feeds, (const char[]){ (char)('a' + i), 0 }, false);

		CHECK_STR(text, want[i]);
	}
	json_decref(feeds);
}

TEST(hosts_are_named_when_there_is_more_than_one)
{
	json_t *feeds = load("[{'host':'algo-1','channels':[{'channel':'a','mode':'File','way':'placed'}]},"
	                     "{'host':'algo-2','channels':[{'channel':'a','mode':'File','way':'placed'}]}]");
	_cleanup_free_ char *text = printed(feeds, "a", false);

	CHECK_STR(text, "  algo-1: File, in place before the container started\n"
	                "  algo-2: File, in place before the container started\n");
	json_decref(feeds);
}

/* A server's answer is no reason to crash. */
TEST(odd_answers_are_survived)
{
	static const char *const odd[] = { "7",
		                           "[]",
		                           "[7]",
		                           "[{'channels':7}]",
		                           "[{'channels':[7]}]",
		                           "[{'channels':[{'channel':7}]}]",
		                           "[{'channels':[{'channel':'a'}]}]",
		                           "[{'channels':[{'channel':'a','feed':{}}]}]",
		                           "[{'channels':[{'channel':'a','feed':{'active_ms':-5,'bytes':'x'}}]}]" };

	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		_cleanup_free_ char *copy = strf("%s", odd[i]), *text = NULL;
		json_t *feeds;

		for (char *p = copy; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		feeds = json_loads(copy, JSON_DECODE_ANY, NULL);
		must(feeds);
		text = printed(feeds, "a", true);
		free(printed(feeds, NULL, true));
		json_decref(feeds);
	}
	free(printed(NULL, "a", true));
}

TEST(describe_has_them_below_each_channel)
{
	json_t *d = load("{'TrainingJobName':'j','TrainingJobArn':'arn','TrainingJobStatus':'Completed',"
	                 "'SecondaryStatus':'Completed','InputDataConfig':["
	                 "{'ChannelName':'train','DataSource':{'S3DataSource':{'S3DataType':'ManifestFile','S3Uri':"
	                 "'s3://b/m'}}},"
	                 "{'ChannelName':'fs','DataSource':{'FileSystemDataSource':{'FileSystemId':'fs-01234567',"
	                 "'DirectoryPath':'/d','FileSystemAccessMode':'ro','FileSystemType':'EFS'}}}]}");
	json_t *feeds = load(pipe_text);
	_cleanup_free_ char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	must(to);
	describe_print(d, feeds, NULL, to);
	must(fclose(to) == 0);
	CHECK(strstr(text, "channels       train from s3://b/m (ManifestFile)\n"
	                   "                 Pipe, written into FIFOs"));
	CHECK(strstr(text, "bottleneck: data waited for it 88 % of that time.\n"
	                   "               fs from fs-01234567:/d (ro)\n"));
	json_decref(feeds);
	json_decref(d);
}
