/* Descriptors of the store's files: shared, bounded, and opened again.  SPDX-License-Identifier: Apache-2.0 */
#include "fuse/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "jobdir/list.h"

enum { COUNT = 50, LIMIT = 4 };

struct world {
	struct tree *tree;
	struct files *files;
	int objects_fd;
};

static void world_open(struct world *w)
{
	_cleanup_free_ char *list = strf("%s/list", test_tmpdir()), *objects = strf("%s/objects", test_tmpdir());
	_cleanup_close_ int fd = -EBADF;
	FILE *f = fopen(list, "we");
	struct feeder_order o = { .place = PLACE_EMBEDDED, .bucket = "bkt", .prefix = "", .order.share_count = 1 };

	must(f && mkdir(objects, 0755) == 0);
	w->objects_fd = open(objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(mkdirat(w->objects_fd, "ab", 0755) == 0);
	for (int i = 0; i < COUNT; i++) {
		char key[16], id[16], path[32], bytes[16];

		snprintf(key, sizeof(key), "k%02d", i);
		snprintf(id, sizeof(id), "ab%02d", i);
		snprintf(path, sizeof(path), "ab/%s", id);
		snprintf(bytes, sizeof(bytes), "%02d", i);
		CHECK_OK(file_put(w->objects_fd, path, str_of(bytes), 0600, e));
		CHECK_OK(list_write(f,
		                    &(struct list_entry){
		                            .size = 2, .object_id = str_of(id), .etag = STR("x"), .key = str_of(key) },
		                    e));
	}
	fclose(f);
	fd = o.list_fd = open(list, O_RDONLY | O_CLOEXEC);
	CHECK_OK(tree_new(&o, &w->tree, e));
	w->files = files_new(w->tree, w->objects_fd, LIMIT, "bkt");
}

static void world_close(struct world *w)
{
	files_free(w->files);
	tree_free(w->tree);
	close(w->objects_fd);
}

static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	must(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static bool right(int fd, uint32_t file)
{
	char want[16], got[3] = "";

	snprintf(want, sizeof(want), "%02u", file - 1); /* node 0 is the root */
	return pread(fd, got, 2, 0) == 2 && strcmp(got, want) == 0;
}

TEST(files_are_bounded)
{
	unsigned before = open_descriptors();
	struct world w;
	int fd;

	world_open(&w);
	for (int pass = 0; pass < 3; pass++) {
		for (uint32_t file = 1; file <= COUNT; file++) {
			CHECK_OK(files_get(w.files, file, &fd, e));
			CHECK(right(fd, file));
			files_put(w.files, file);
			CHECK(open_descriptors() <= before + LIMIT + 2); /* the list, the directory */
		}
	}
	world_close(&w);
	CHECK_INT(open_descriptors(), before);
}

TEST(files_in_use_stay)
{
	struct world w;
	int fd, again, other;

	world_open(&w);
	CHECK_OK(files_get(w.files, 1, &fd, e));
	for (uint32_t file = 2; file <= COUNT; file++) {
		CHECK_OK(files_get(w.files, file, &other, e));
		files_put(w.files, file);
	}
	CHECK(right(fd, 1));
	CHECK_OK(files_get(w.files, 1, &again, e));
	CHECK_INT(again, fd);
	files_put(w.files, 1);
	files_put(w.files, 1);
	world_close(&w);
}

TEST(files_that_are_no_objects)
{
	struct err why = { 0 };
	struct world w;
	char text[2000];
	int fd;

	world_open(&w);
	CHECK(unlinkat(w.objects_fd, "ab/ab00", 0) == 0 && mkfifoat(w.objects_fd, "ab/ab00", 0600) == 0);
	CHECK(files_get(w.files, 1, &fd, &why) < 0);
	CHECK_STR(err_text(&why, text, sizeof(text)),
	          "s3://bkt/k00 cannot be read: its file in the store has 0 bytes, not 2");
	CHECK(unlinkat(w.objects_fd, "ab/ab01", 0) == 0 && symlinkat("/etc/passwd", w.objects_fd, "ab/ab01") == 0);
	CHECK(files_get(w.files, 2, &fd, &why) < 0);
	world_close(&w);
}

struct reader {
	struct world *w;
	uint32_t step;
	unsigned wrong;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	int fd;

	for (uint32_t i = 0; i < 2000; i++) {
		uint32_t file = i * r->step % COUNT + 1;

		if (files_get(r->w->files, file, &fd, NULL) < 0) {
			r->wrong++;
			continue;
		}
		r->wrong += !right(fd, file);
		files_put(r->w->files, file);
	}
	return NULL;
}

TEST(files_of_many_threads)
{
	struct reader readers[8];
	pthread_t thread[ARRAY_LEN(readers)];
	struct world w;

	world_open(&w);
	for (uint32_t i = 0; i < ARRAY_LEN(readers); i++) {
		readers[i] = (struct reader){ .w = &w, .step = 2 * i + 1 };
		must(pthread_create(&thread[i], NULL, read_all, &readers[i]) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		pthread_join(thread[i], NULL);
		CHECK_INT(readers[i].wrong, 0);
	}
	world_close(&w);
}
