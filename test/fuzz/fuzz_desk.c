/* fuzz_desk.c - what a host on another machine sends: pieces of its journal, its log and its artifacts, wherever it
 * wants them. Facts are told once each and in order, whatever comes between; artifacts are those of its job; a host
 * that sends nonsense is refused, and neither lost nor unreadable; what became of the log can be read.
 *
 * Pieces: what ('j', 'l', 'p', 'f', 'h'), where (0..249, or above: at the end), how long (two bytes), bytes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/desk.h"
#include "joblog/joblog.h"
#include "jobdir/spec.h"

#define ID "00000000000000a1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct house {
	char *dir, *host;
	struct loop *loop;
	struct desk *desk;
	struct launcher *hand;
	uint64_t last, size[2]; /* of facts told; of journal and log */
};

static void on_up(void *arg)
{
	loop_stop(((struct house *)arg)->loop);
}

static void on_fact(void *arg, struct str id, const struct fact *f)
{
	struct house *h = arg;

	must(str_is(id, ID) && f->n == h->last + 1 && f->at.ms >= 0 && f->at.ms <= wall_now().ms);
	h->last = f->n;
	if (f->kind != FACT_ARTIFACT)
		return;
	must(str_is(str_of(json_string_value(json_object_get(f->args, "bucket"))), "bkt"));
	must(str_starts(str_of(json_string_value(json_object_get(f->args, "key"))), STR("out/iris/output/")));
}

static void on_lost(void *arg, struct str id, struct str reason, struct wall at)
{
	(void)arg, (void)id, (void)reason, (void)at;
	must(!"a host that is heard is not lost");
}

static const struct launcher_events events = { on_up, on_fact, on_lost };

static void make_host(struct house *h)
{
	_cleanup_close_ int fd = -EBADF;
	struct job_spec s = { 0 };
	json_t *j;

	must(mkdir_all(AT_FDCWD, h->host, 0755, NULL) == 0);
	fd = open(h->host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(file_put(fd, "elsewhere", (struct str){ 0 }, 0600, NULL) == 0);
	must(mkdir_all(fd, "staged", 0755, NULL) == 0);
	j = json_pack("{si ss ss ss ss ss ss si si si ss si si ss ss ss si s{} s{ss sf sI si sI si} s[]}", "v", 1, "id",
	              ID, "name", "iris", "arn", "arn:aws:x", "region", "us-east-1", "account", "000000000000",
	              "host_name", "algo-1", "host_number", 1, "host_count", 1, "fastfile_links_max", 0, "image",
	              "busy", "max_runtime_s", 60, "stop_grace_s", 1, "output_place", "embedded", "output_bucket",
	              "bkt", "output_prefix", "out", "log_epoch_s", 1, "request", "limits", "instance_type", "local",
	              "cpus", 1.0, "memory_bytes", (json_int_t)1 << 30, "shm_bytes", 0, "volume_bytes",
	              (json_int_t)1 << 20, "pids", 100, "channels");
	must(j && spec_from_json(j, &s, NULL) == 0 && spec_save(fd, &s, NULL) == 0);
	spec_fini(&s);
	json_decref(j);
}

static void turn(struct house *h)
{
	struct loop_source *t = loop_timer(h->loop, 0, 0, on_up, h);

	must(loop_run(h->loop, NULL) == 0);
	loop_source_free(t);
}

static int say_hello(struct house *h, const char *instance)
{
	struct err e = { 0 };
	json_t *j = NULL;
	int rc = desk_hello(h->desk, ID, &(struct desk_hello){ "10.0.0.1", instance, wall_now() }, &j, &e);

	json_decref(j);
	return rc;
}

static void open_house(struct house *h)
{
	h->dir = strf("%s/fuzz-desk.%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	h->host = strf("%s/jobs/" ID, h->dir);
	make_host(h);
	log_init("fuzz", LOG_ERROR + 1);
	h->loop = loop_new();
	h->desk = desk_new(h->dir, 600000);
	h->hand = launcher_hand.open(&(struct launcher_options){
	        .loop = h->loop, .data_dir = h->dir, .desk = h->desk, .events = &events, .arg = h });
	must(loop_run(h->loop, NULL) == 0);
	turn(h);
	launcher_hand.launch(h->hand, ID);
	launcher_hand.watch(h->hand, ID, 0);
	turn(h);
	must(say_hello(h, "0123456789ab") == 0);
}

/* ---- what comes ---- */

static void append(struct house *h, enum desk_file which, unsigned where, struct str bytes)
{
	uint64_t had = h->size[which], now = had;
	struct err e = { 0 };

	if (desk_append(h->desk, ID, which, where < 250 ? where : had, bytes, &now, &e) < 0) {
		must(e.depth > 0);
		return;
	}
	must(now >= had);
	h->size[which] = now;
}

static void artifact(struct house *h, struct str rest)
{
	_cleanup_(desk_part_freep) struct desk_part *p = NULL;
	struct str leaf = str_cut(&rest, ' '), md5 = str_cut(&rest, ' ');
	struct err e = { 0 };

	if (desk_part_new(h->desk, ID, leaf, rest.n, &p, &e) < 0) {
		must(e.depth > 0);
		return;
	}
	must(!str_has_byte(leaf, '/') && leaf.p[0] != '.');
	if (desk_part_add(p, rest, &e) == 0 && desk_part_end(p, md5, &e) < 0)
		must(e.depth > 0);
}

static void take(struct house *h, unsigned what, unsigned where, struct str bytes)
{
	_cleanup_free_ char *z = str_dup(bytes);
	struct err e = { 0 };

	switch (what) {
	case 'j': append(h, DESK_JOURNAL, where, bytes); break;
	case 'l': append(h, DESK_LOG, where, bytes); break;
	case 'p': artifact(h, bytes); break;
	case 'f': (void)!desk_feeds(h->desk, ID, bytes, &e); break;
	default: (void)!say_hello(h, z); break;
	}
	turn(h);
}

static void read_log(const struct house *h)
{
	_cleanup_free_ char *path = strf("%s/log/algo-1", h->host);
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf tail = { 0 };
	struct log_record rec;
	struct err e = { 0 };
	uint64_t steps = 0;

	if (joblog_reader_open(path, &r, &e) < 0) {
		must(e.kind == ERR_NOT_FOUND || e.kind == ERR_INVALID);
		return;
	}
	while (joblog_next(r, &rec, &e) > 0)
		must(++steps <= h->size[DESK_LOG]);
	(void)!joblog_seek_time(r, (struct wall){ 77 }, NULL);
	(void)!joblog_tail(path, 3, 40, &tail, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct house h = { 0 };

	open_house(&h);
	while (size >= 4) {
		size_t n = (size_t)data[2] << 8 | data[3];

		n = n < size - 4 ? n : size - 4;
		take(&h, data[0], data[1], (struct str){ (const char *)data + 4, n });
		data += 4 + n;
		size -= 4 + n;
	}
	read_log(&h);
	launcher_hand.close(h.hand);
	loop_free(h.loop);
	desk_free(h.desk);
	must(remove_tree(AT_FDCWD, h.dir, NULL) == 0);
	free(h.host);
	free(h.dir);
	return 0;
}
