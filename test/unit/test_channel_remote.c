/* What becomes of a channel when bloomery-fetch says this or that; it is a script here. The real one has test_s3 and
 * test/spec/test_remote_s3.py.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "channel/channel.h"
#include "harness.h"
#include "jobdir/spec.h"

struct world {
	struct channel_spec ch;
	struct channel_env env;
	struct s3_target s3;
	struct channel_stats stats;
	char *script;
};

#define LISTED(leaf) "1 0 - e 3 p/" leaf "\n"

/* The script finds the work order on its stdin and the directory's descriptor in $2. */
static void world_open(struct world *w, const char *script)
{
	_cleanup_free_ char *text = strf("#!/bin/sh\n%s\n", script);

	*w = (struct world){
		.ch = { .name = "train",
		        .input_mode = "File",
		        .distribution = "FullyReplicated",
		        .s3_uri = "s3://b/p/",
		        .bucket = "b",
		        .prefix = "p/",
		        .place = PLACE_REMOTE,
		        .list = (char *)"0",
		        .objects = 3,
		        .bytes = 3,
		        .share_count = 1 },
		.s3 = { .endpoint = "http://s3", .region = "r", .access_key = "k", .secret_key = "se\"cret" },
	};
	w->script = strf("%s/fetch", test_tmpdir());
	CHECK_OK(file_put(AT_FDCWD, w->script, str_of(text), 0755, e));
	w->env = (struct channel_env){
		.objects_dirfd = -EBADF,
		.data_dirfd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.fetch_program = w->script,
		.s3 = &w->s3,
	};
	must(w->env.data_dirfd >= 0);
	w->env.job_dirfd = w->env.data_dirfd;
	CHECK_OK(mkdir_all(w->env.job_dirfd, "lists", 0755, e));
	CHECK_OK(file_put(w->env.job_dirfd, "lists/0", STR(LISTED("0") LISTED("1") LISTED("2")), 0644, e));
}

static int prepare(struct world *w, struct err *e)
{
	return channel_ops_for(CHANNEL_PLACED)->prepare(&w->ch, &w->env, &w->stats, e);
}

static void world_close(struct world *w)
{
	close(w->env.data_dirfd);
	free(w->script);
}

static void check_file(const struct world *w, const char *path, const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };

	CHECK_OK(file_read_at(w->env.data_dirfd, path, 1 << 20, &got, e));
	CHECK_STR(got.p, want);
}

static void check_order(const struct world *w, const char *path, const char *const *has, const char *hasnt)
{
	_cleanup_buf_ struct buf order = { 0 };

	CHECK_OK(file_read_at(w->env.data_dirfd, path, 4096, &order, e));
	for (; *has; has++)
		CHECK(strstr(order.p, *has) != NULL);
	CHECK(!hasnt || strstr(order.p, hasnt) == NULL);
}

TEST(channel_remote_hands_over_order_directory_and_share)
{
	struct world w;

	/* The list's number is in the order only. */
	world_open(&w, "cat > /proc/self/fd/$2/order\n"
	               "m=$(sed 's/.*\"list\": *\\([0-9]*\\).*/\\1/' /proc/self/fd/$2/order)\n"
	               "cat /proc/self/fd/$m > /proc/self/fd/$2/list\n"
	               "echo \"$1\" > /proc/self/fd/$2/x\n"
	               "echo '{\"progress\":{\"objects\":1}}'\n"
	               "echo '{\"done\":{\"objects\":1,\"bytes\":4}}'");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train/x", "get\n");
	check_file(&w, "train-manifest", "p/\ns3://b/p/0\ns3://b/p/1\ns3://b/p/2\n");
	check_file(&w, "train/list", LISTED("0") LISTED("1") LISTED("2"));
	CHECK_INT(w.stats.objects, 1);
	CHECK_INT(w.stats.bytes, 4);
	CHECK_INT(w.stats.copied, 1);
	CHECK_INT(w.stats.linked, 0);
	{
		uint64_t room = 0;

		CHECK_OK(channel_room(&w.ch, &w.env, &room, e));
		CHECK_INT(room, 3);
	}
	check_order(&w, "train/order",
	            (const char *const[]){ "\"secret_key\":\"se\\\"cret\"", "\"prefix\":\"p/\"", NULL }, "attribute");
	/* Again, as one host of three: the manifest still tells the whole channel (contract 1.3). */
	w.ch.share_number = 1;
	w.ch.share_count = 3;
	{
		uint64_t room = 0;

		CHECK_OK(channel_room(&w.ch, &w.env, &room, e));
		CHECK_INT(room, 1);
	}
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train-manifest", "p/\ns3://b/p/0\ns3://b/p/1\ns3://b/p/2\n");
	check_file(&w, "train/list", LISTED("1"));
	world_close(&w);
}

TEST(channel_remote_passes_on_what_went_wrong)
{
	static const struct {
		const char *script;
		enum err_kind kind;
		const char *want;
	} rows[] = {
		{ "echo '{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:so it is\"}}'; exit 1",
		  ERR_CLIENT, "Data download failed:so it is" },
		{ "echo '{\"error\":{\"kind\":\"IO\",\"text\":\"no route\"}}'; exit 1", ERR_IO, "no route" },
		{ "echo '{\"error\":{\"kind\":\"NONSENSE\",\"text\":\"x\"}}'; exit 1", ERR_IO, "x" },
		{ "exit 3", ERR_IO, "bloomery-fetch ended without an answer, exit status 3" },
		{ "exit 0", ERR_IO, "bloomery-fetch ended without an answer, exit status 0" },
		{ "kill -9 $$", ERR_IO, "bloomery-fetch was ended by signal 9" },
		{ "echo '{\"done\":{\"objects\":1,\"bytes\":4}}'; exit 1", ERR_IO,
		  "bloomery-fetch ended without an answer, exit status 1" },
		{ "echo '{\"done\":{\"objects\":\"1\"}}'", ERR_IO,
		  "bloomery-fetch ended without an answer, exit status 0" },
		{ "echo '[1'", ERR_IO, "bloomery-fetch ended without an answer, exit status 0" },
		{ "head -c 200000 /dev/zero", ERR_IO, "bloomery-fetch ended without an answer, exit status 0" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e1 = { 0 };
		char text[4096];
		struct world w;

		world_open(&w, rows[i].script);
		CHECK_INT(prepare(&w, &e1), -1);
		CHECK_INT(e1.kind, rows[i].kind);
		CHECK_STR(err_text(&e1, text, sizeof(text)), rows[i].want);
		world_close(&w);
	}
}

TEST(channel_remote_without_the_program)
{
	struct err e1 = { 0 };
	struct world w;

	world_open(&w, "true");
	w.env.fetch_program = "/nonexistent/bloomery-fetch";
	CHECK_INT(prepare(&w, &e1), -1);
	CHECK_INT(e1.os, ENOENT);
	world_close(&w);
}
