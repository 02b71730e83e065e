/* Pipe mode from another S3: our own one, served in this process, that goes away and comes back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <zlib.h>

#include "blob/blob.h"
#include "feed_house.h"
#include "http/server.h"
#include "op/api.h"
#include "s3/s3.h"

static struct {
	struct blob_store *blobs;
	struct http_server *server;
	uint16_t port;
	struct access_key key;
	struct api api;
	char *url;
	struct s3 *s3;
} world;

static void server_start(void)
{
	CHECK_OK(http_server_start("127.0.0.1", world.port, NULL, api_route, &world.api, &world.server, e));
	world.port = http_server_port(world.server);
}

static void server_stop(void)
{
	http_server_stop(world.server);
	world.server = NULL;
}

static void remote_open(struct house *h)
{
	_cleanup_free_ char *dir = strf("%s/blobs", test_tmpdir());

	house_open(h);
	world.key = (struct access_key){ .id = (char *)"AKIDEXAMPLE",
		                         .secret = (char *)"secret",
		                         .arn = (char *)"arn:x" };
	must(mkdir(dir, 0700) == 0);
	CHECK_OK(blob_open(dir, &world.blobs, e));
	CHECK_OK(blob_bucket_create(world.blobs, STR("bucket"), e));
	world.api = (struct api){ .data_dir = dir,
		                  .account = "000000000000",
		                  .region = "us-east-1",
		                  .blobs = world.blobs,
		                  .keys = &world.key,
		                  .key_count = 1 };
	server_start();
	world.url = strf("http://127.0.0.1:%u", world.port);
	CHECK_OK(s3_new(
	        &(struct s3_options){ .endpoint = world.url, .access_key = "AKIDEXAMPLE", .secret_key = "secret" },
	        &world.s3, e));
	h->order.place = PLACE_REMOTE;
	h->order.objects_fd = -1;
	free(h->order.bucket);
	h->order.bucket = xstrdup("bucket");
	h->order.s3 = (struct s3_target){ .endpoint = xstrdup(world.url),
		                          .region = xstrdup("us-east-1"),
		                          .access_key = xstrdup("AKIDEXAMPLE"),
		                          .secret_key = xstrdup("secret") };
}

static void put(const char *key, struct str bytes, struct buf *etag)
{
	CHECK_OK(s3_put(world.s3, (struct s3_uri){ STR("bucket"), str_of(key) }, bytes, NULL, etag, e));
}

static void remote_add(struct house *h, struct str bytes)
{
	_cleanup_free_ char *key = strf("p/%08u", h->objects++);
	_cleanup_buf_ struct buf etag = { 0 };
	struct list_entry o = { .size = bytes.n, .object_id = STR("-"), .key = str_of(key) };

	put(key, bytes, &etag);
	o.etag = buf_view(&etag);
	CHECK_OK(list_write(h->list, &o, e));
	buf_add(&h->all, bytes.p, bytes.n);
}

static void remote_fill(struct house *h, unsigned count, size_t most)
{
	_cleanup_free_ char *bytes = xrealloc(NULL, most + 1);
	uint32_t x = 7;

	for (unsigned i = 0; i < count; i++) {
		size_t n = count == 1 ? most : (size_t)i * 104729 % (most + 1);

		for (size_t k = 0; k < n; k++) {
			x = x * 1664525 + 1013904223;
			bytes[k] = (char)(x >> 24);
		}
		remote_add(h, (struct str){ bytes, n });
	}
}

/* The feeder must not hold the server's socket, so it is started between two servers. */
static void remote_start(struct house *h)
{
	server_stop();
	house_start(h);
	server_start();
	house_ready(h);
}

static void remote_close(struct house *h)
{
	if (world.server)
		server_stop();
	s3_free(world.s3);
	blob_close(world.blobs);
	free(world.url);
	house_close(h);
}

TEST(feed_remote_in_order)
{
	struct house h;
	struct feed_stats s = { 0 };

	remote_open(&h);
	remote_fill(&h, 60, 700000);
	remote_fill(&h, 1, 30 << 20);
	remote_add(&h, STR(""));
	remote_fill(&h, 300, 5000);
	remote_start(&h);
	for (uint64_t epoch = 0; epoch < 3; epoch++)
		house_check_epoch(&h, epoch, buf_view(&h.all));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK_INT(s.objects, 3 * 362);
	CHECK_INT(s.bytes, 3 * h.all.n);
	remote_close(&h);
}

TEST(feed_remote_next_epoch_before_this_one)
{
	struct house h;
	struct buf rest = { 0 };
	char first;
	int fd;

	remote_open(&h);
	remote_fill(&h, 1, 80 << 20); /* more than a channel may have in memory */
	remote_start(&h);
	fd = house_fifo(&h, 0, 0);
	must(read(fd, &first, 1) == 1);
	poll(NULL, 0, 500); /* epoch 0 takes all the memory that it can get */
	house_check_epoch(&h, 1, buf_view(&h.all));
	buf_add(&rest, &first, 1);
	house_drain(fd, &rest);
	CHECK_BYTES(buf_view(&rest), buf_view(&h.all));
	close(fd);
	buf_fini(&rest);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	remote_close(&h);
}

TEST(feed_remote_store_is_gone_for_a_while)
{
	struct house h;
	struct feed_stats s = { 0 };
	struct buf got = { 0 };
	int fd;

	remote_open(&h);
	remote_fill(&h, 1, 150 << 20);
	remote_start(&h);
	fd = house_fifo(&h, 0, 0);
	buf_need(&got, h.all.n + (1 << 20));
	while (got.n < 20 << 20) {
		ssize_t n = read(fd, got.p + got.n, 64 << 10);

		must(n > 0);
		got.n += (size_t)n;
	}
	server_stop();
	must(got.n < h.all.n);
	for (int i = 0; i < 30; i++) { /* what is there already can be had meanwhile */
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = poll(&p, 1, 100) > 0 ? read(fd, got.p + got.n, 4 << 20) : 0;

		got.n += n > 0 ? (size_t)n : 0;
	}
	server_start();
	house_drain(fd, &got);
	close(fd);
	CHECK_BYTES(buf_view(&got), buf_view(&h.all));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	buf_fini(&got);
	remote_close(&h);
}

/* A reader that has closed early does not care that the store is gone, and the channel goes on when it is back. */
TEST(feed_remote_reader_leaves_while_the_store_is_gone)
{
	struct house h;
	struct feed_stats s = { 0 };
	int fd;

	remote_open(&h);
	remote_fill(&h, 1, 10 << 20);
	remote_start(&h);
	server_stop();
	fd = house_fifo(&h, 0, 0);
	poll(NULL, 0, 300);
	close(fd);
	poll(NULL, 0, 1500);
	server_start();
	house_check_epoch(&h, 1, buf_view(&h.all));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK(s.wait_store_ms >= 500 && s.wait_reader_ms < s.wait_store_ms); /* counted as it goes on */
	remote_close(&h);
}

TEST(feed_remote_object_is_replaced)
{
	struct house h;
	struct buf error = { 0 };
	_cleanup_free_ char *want = NULL;
	int fd;

	remote_open(&h);
	remote_fill(&h, 3, 1000);
	put("p/00000001", STR("another one"), NULL);
	remote_start(&h);
	fd = house_fifo(&h, 0, 0);
	CHECK_INT(house_end(&h, NULL, &error), 1);
	want = strf("channel train, epoch 0: s3://bucket/p/00000001: from %s, byte 0 on: "
	            "the object was replaced while the job was running",
	            world.url);
	CHECK_STR(error.p, want);
	buf_fini(&error);
	close(fd);
	remote_close(&h);
}

TEST(feed_remote_object_is_gone)
{
	struct house h;
	const struct list_entry gone = { .size = 3, .object_id = STR("-"), .key = STR("p/gone"), .etag = STR("e") };
	struct buf error = { 0 };
	int fd;

	remote_open(&h);
	remote_fill(&h, 3, 1000);
	CHECK_OK(list_write(h.list, &gone, e));
	remote_start(&h);
	fd = house_fifo(&h, 0, 0);
	CHECK_INT(house_end(&h, NULL, &error), 1);
	CHECK(str_starts(buf_view(&error), STR("channel train, epoch 0: s3://bucket/p/gone: from http://127.0.0.1:")));
	CHECK(str_find(buf_view(&error), STR("NoSuchKey")) > 0);
	buf_fini(&error);
	close(fd);
	remote_close(&h);
}

TEST(feed_remote_gzip_records)
{
	struct house h;
	unsigned char packed[1000];
	static const char text[] = "a few words";
	z_stream z = {
		.next_in = (Bytef *)text, .avail_in = sizeof(text) - 1, .next_out = packed, .avail_out = sizeof(packed)
	};
	struct list_part parts[2] = { { .object.object_id = STR("-") }, { .literal = true, .bytes = STR("9") } };
	struct buf etag = { 0 };

	must(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, 0) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END);
	remote_open(&h);
	h.order.gzip = h.order.record_io = h.order.lines = true;
	put("elsewhere", (struct str){ (char *)packed, z.total_out }, &etag);
	parts[0].object.key = STR("elsewhere");
	parts[0].object.bucket = STR("bucket");
	parts[0].object.etag = buf_view(&etag);
	parts[0].object.size = z.total_out;
	CHECK_OK(list_write_line(h.list, parts, 2, e));
	deflateEnd(&z);
	remote_start(&h);
	house_check_epoch(&h, 0,
	                  STR("\x0a\x23\xd7\xce\x0b\0\0\0a few words\0\x0a\x23\xd7\xce\x01\0\0\0"
	                      "9\0\0\0"));
	buf_fini(&etag);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	remote_close(&h);
}
