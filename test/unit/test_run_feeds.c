/* What is said of a channel. SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "run/feeds.h"

static void check_start(const struct channel_spec *ch, const struct feed *f, const char *want)
{
	struct buf b = { 0 };

	feed_start_line(ch, f, &b);
	CHECK_STR(b.p, want);
	buf_fini(&b);
}

TEST(feed_lines_at_the_start)
{
	struct channel_spec ch = {
		.name = "train", .input_mode = "Pipe", .s3_data_type = "S3Prefix", .share_count = 1
	};
	struct feed f = { .way = CHANNEL_PIPED, .share = { .objects = 1234567, .bytes = 3650722201 } };

	check_start(&ch, &f, "channel 'train': Pipe, 1,234,567 objects, 3.4 GiB, piped as it is read");
	ch.share_number = 1;
	ch.share_count = 3;
	ch.shuffled = true;
	ch.shuffle_seed = -5;
	ch.s3_data_type = "AugmentedManifestFile";
	f.share.objects = 1;
	check_start(&ch, &f,
	            "channel 'train': Pipe, 1 line, 3.4 GiB, which is this host's share (2 of 3), piped as it is read, "
	            "shuffled with seed -5");
	ch = (struct channel_spec){
		.name = "x", .input_mode = "FastFile", .s3_data_type = "S3Prefix", .share_count = 1
	};
	f = (struct feed){ .way = CHANNEL_LINKED, .prepare_ms = 1234, .share = { .objects = 999, .bytes = 5 } };
	check_start(&ch, &f, "channel 'x': FastFile, 999 objects, 5 bytes, linked in 1.2 s");
	f.way = CHANNEL_FUSED;
	check_start(&ch, &f, "channel 'x': FastFile, 999 objects, 5 bytes, fetched as it is read");
	ch.input_mode = "File";
	f.way = CHANNEL_MOUNTED;
	ch.directory_path = "/a";
	ch.file_system_id = "fs-00000001";
	ch.file_system_access = "ro";
	check_start(&ch, &f, "channel 'x': File, /a of the file system fs-00000001, read-only");
}

static void check_end(const struct feed *f, const char *want)
{
	struct channel_spec ch = { .name = "train", .input_mode = "Pipe" };
	struct buf b = { 0 };

	feed_end_line(&ch, f, &b);
	CHECK_STR(b.p, want);
	buf_fini(&b);
}

TEST(feed_lines_at_the_end)
{
	struct feed f = { .way = CHANNEL_PIPED };

	check_end(&f, "channel 'train': nothing of it was read");
	f.stats = (struct feed_stats){ .epoch = 2,
		                       .epochs = 3,
		                       .objects = 3600,
		                       .bytes = 41 << 20,
		                       .active_ms = 41000,
		                       .stalls_reader = 120,
		                       .wait_reader_ms = 30100,
		                       .stalls_store = 1,
		                       .wait_store_ms = 1234 };
	check_end(&f, "channel 'train': 3 epochs begun, 3,600 objects and 41 MiB read in 41.0 s, 1 MiB a second. The "
	              "data was "
	              "waited for 1 time, 1.2 s; the trainer 120 times, 30.1 s. The bottleneck was the trainer: data "
	              "was there, "
	              "and it was busy with something else");
	f.way = CHANNEL_FUSED;
	f.stats.wait_reader_ms = f.stats.wait_store_ms = 0;
	f.stats.stalls_reader = f.stats.stalls_store = 0;
	check_end(&f, "channel 'train': 3,600 objects and 41 MiB read in 41.0 s, 1 MiB a second. The data was waited "
	              "for 0 times, "
	              "0.0 s; the trainer 0 times, 0.0 s");
}

TEST(the_bottleneck_is_who_was_waited_for)
{
	struct feed_stats s = { .active_ms = 10000, .wait_reader_ms = 5000, .wait_store_ms = 100 };

	CHECK_INT(feed_bottleneck(&s), BOTTLENECK_TRAINER);
	s.wait_store_ms = 6000;
	CHECK_INT(feed_bottleneck(&s), BOTTLENECK_DATA);
	s.wait_store_ms = s.wait_reader_ms = 900; /* both little */
	CHECK_INT(feed_bottleneck(&s), BOTTLENECK_NEITHER);
	s = (struct feed_stats){ .active_ms = 500, .wait_store_ms = 500 }; /* too short to say */
	CHECK_INT(feed_bottleneck(&s), BOTTLENECK_NEITHER);
}
