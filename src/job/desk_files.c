/* What hosts send and fetch: files of their directories. SPDX-License-Identifier: Apache-2.0
 *
 * Of one file several requests may come at once, when a connection broke and its last request is still being worked on
 * here: the file's lock makes it one after the other, and the offset says what is new. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "job/desk_inside.h"

enum { COMPARE_BYTES = 64 << 10, IMAGE_JSON_MAX = 2 << 20, ERROR_MAX = 4096 };
#define JOURNAL_MAX_BYTES (UINT64_C(256) << 20)

/* ---- bytes at an offset ---- */

/* What is there already must be what comes. */
static int compare(int fd, uint64_t offset, struct str bytes, struct err *e)
{
	_cleanup_free_ char *there = xrealloc(NULL, COMPARE_BYTES);

	while (bytes.n) {
		size_t want = bytes.n < COMPARE_BYTES ? bytes.n : COMPARE_BYTES;
		ssize_t n = pread(fd, there, want, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "reading what is there");
		if (memcmp(there, bytes.p, (size_t)n) != 0)
			return err_set(e, ERR_CONFLICT,
			               "what was sent before is not what is sent now: the host runs twice, or in "
			               "another directory than before");
		bytes.p += n;
		bytes.n -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int write_at(int fd, uint64_t offset, struct str bytes, bool durable, struct err *e)
{
	int rc = lseek(fd, (off_t)offset, SEEK_SET) < 0 ? err_sys(e, "writing") : fd_write_all(fd, bytes.p, bytes.n, e);

	if (rc == 0 && durable && fdatasync(fd) < 0)
		rc = err_sys(e, "syncing");
	if (rc < 0 && ftruncate(fd, (off_t)offset) < 0)
		err_in(e, "and taking half of it back failed");
	return rc;
}

/* Whether the new bytes may stand there; NULL: any may. */
typedef int check_fn(struct desk *d, const char *id, int fd, uint64_t size, struct str bytes, struct err *e);

static int append_to(struct desk *d, const char *id, int fd, uint64_t offset, struct str bytes, check_fn *check,
                     uint64_t *ret_size, struct err *e)
{
	struct stat st;
	uint64_t size;
	size_t again;

	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_sys(e, "locking");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at it");
	size = (uint64_t)st.st_size;
	*ret_size = size;
	if (offset > size)
		return 0;
	again = size - offset < bytes.n ? (size_t)(size - offset) : bytes.n;
	if (compare(fd, offset, (struct str){ bytes.p, again }, e) < 0)
		return -1;
	bytes = (struct str){ bytes.p + again, bytes.n - again };
	if (!bytes.n)
		return 0;
	if ((check && check(d, id, fd, size, bytes, e) < 0) || write_at(fd, size, bytes, check != NULL, e) < 0)
		return -1;
	*ret_size = size + bytes.n;
	return 0;
}

/* ---- the journal ---- */

/* The number of the last fact of the file; 0: it has none. */
static int last_fact(int fd, uint64_t size, uint64_t *ret, struct err *e)
{
	size_t want = size < FACT_MAX_BYTES + 1 ? (size_t)size : FACT_MAX_BYTES + 1, got = 0;
	_cleanup_free_ char *tail = xrealloc(NULL, want + 1);
	struct str rest, line;
	struct fact f;

	*ret = 0;
	if (!size)
		return 0;
	if (lseek(fd, (off_t)(size - want), SEEK_SET) < 0 || fd_read_full(fd, tail, want, &got, e) < 0)
		return err_sys(e, "reading the last fact");
	rest = (struct str){ tail, got ? got - 1 : 0 };
	line = str_has_byte(rest, '\n') ? str_cut_last(&rest, '\n') : rest;
	if (fact_parse(line, &f, e) < 0)
		return -1;
	*ret = f.n;
	fact_fini(&f);
	return 0;
}

/* An artifact becomes an object of the store, so it is one that this job makes. */
static int check_artifact(struct desk *d, const char *id, const struct fact *f, struct err *e)
{
	struct str bucket = str_of(json_string_value(json_object_get(f->args, "bucket")));
	struct str key = str_of(json_string_value(json_object_get(f->args, "key")));
	struct desk_host *h;
	bool ok;

	desk_lock(d);
	h = desk_find_locked(d, id);
	ok = h && str_is(bucket, h->bucket) && str_starts(key, str_of(h->key)) && key.n > strlen(h->key);
	desk_unlock(d);
	return ok ? 0
	          : err_set(e, ERR_DENIED, "s3://" PRIstr "/" PRIstr " is not an artifact of this job", ARGstr(bucket),
	                    ARGstr(key));
}

static int check_facts(struct desk *d, const char *id, int fd, uint64_t size, struct str bytes, struct err *e)
{
	struct fact f;
	uint64_t n;

	if (bytes.p[bytes.n - 1] != '\n')
		return err_set(e, ERR_SYNTAX, "the journal is sent in whole lines");
	if (size + bytes.n > JOURNAL_MAX_BYTES)
		return err_set(e, ERR_TOO_LARGE, "the journal of a host is at most %llu bytes",
		               (unsigned long long)JOURNAL_MAX_BYTES);
	if (last_fact(fd, size, &n, e) < 0)
		return -1;
	while (bytes.n) {
		int rc;

		if (fact_parse(str_cut(&bytes, '\n'), &f, e) < 0)
			return -1;
		rc = f.n != n + 1 ? err_set(e, ERR_SYNTAX, "fact %llu follows fact %llu", (unsigned long long)f.n,
		                            (unsigned long long)n)
		                  : (f.kind == FACT_ARTIFACT ? check_artifact(d, id, &f, e) : 0);
		n = f.n;
		fact_fini(&f);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Says that the host was heard of. */
static int enter(struct desk *d, const char *id, char **ret_name, struct err *e)
{
	_cleanup_free_ char *address = NULL, *instance = NULL, *name = NULL;
	_cleanup_close_ int dir = desk_dir(d, id, e);
	struct desk_host *h;
	int64_t skew;

	if (dir < 0 || desk_check_open(dir, e) < 0 || desk_check_complete(d, e) < 0)
		return -1;
	if (!desk_begun(dir, &address, &instance, &skew))
		return err_set(e, ERR_CONFLICT, "this host has not said hello");
	desk_lock(d);
	h = desk_find_locked(d, id);
	if (h) {
		h->heard = true;
		name = xstrdup(h->host_name);
	}
	desk_unlock(d);
	if (ret_name)
		*ret_name = take_ptr(name);
	return take_fd(dir);
}

int desk_append(struct desk *d, const char *id, enum desk_file which, uint64_t offset, struct str bytes,
                uint64_t *ret_size, struct err *e)
{
	_cleanup_free_ char *name = NULL, *path = NULL;
	_cleanup_close_ int dir = enter(d, id, &name, e), fd = -EBADF;
	struct desk_host *h;

	if (dir < 0)
		return -1;
	if (!name && which == DESK_LOG) { /* its end has been taken, and with it all that was printed */
		*ret_size = offset + bytes.n;
		return 0;
	}
	if (which == DESK_LOG && mkdirat(dir, "log", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making log");
	path = which == DESK_LOG ? strf("log/%s", name) : xstrdup("journal");
	fd = openat(dir, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	if (append_to(d, id, fd, offset, bytes, which == DESK_JOURNAL ? check_facts : NULL, ret_size, e) < 0)
		return err_in(e, "%s", path);
	if (which != DESK_JOURNAL)
		return 0;
	desk_lock(d);
	h = desk_find_locked(d, id);
	if (h)
		h->fresh = true;
	desk_unlock(d);
	if (h)
		hand_look(d);
	return 0;
}

int desk_feeds(struct desk *d, const char *id, struct str bytes, struct err *e)
{
	_cleanup_close_ int dir = enter(d, id, NULL, e);

	return dir < 0 ? -1 : file_write_atomic(dir, "feeds.json", bytes, 0644, false, e);
}

/* ---- artifacts ---- */

struct desk_part {
	struct desk *desk;
	char id[JOB_ID_BYTES];
	int staged, fd;
	char *leaf, *tmp;
	uint64_t size, got;
	bool kept;
	struct hash *md5;
};

static bool leaf_ok(struct str s)
{
	if (!s.n || s.n > 64 || s.p[0] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-", s.p[i]) || !s.p[i])
			return false;
	return true;
}

static int check_room(struct desk *d, const char *id, uint64_t size, struct err *e)
{
	struct desk_host *h;
	uint64_t most = 0;
	bool ok;

	desk_lock(d);
	h = desk_find_locked(d, id);
	ok = h && size <= h->staged_max && h->staged <= h->staged_max - size;
	if (ok)
		h->staged += size;
	if (h)
		most = h->staged_max;
	desk_unlock(d);
	if (ok)
		return 0;
	return h ? err_set(e, ERR_TOO_LARGE, "the artifacts of this host are more than %llu bytes, for its volume",
	                   (unsigned long long)most)
	         : err_set(e, ERR_IN_USE, "nothing is to be done for this host any more");
}

int desk_part_new(struct desk *d, const char *id, struct str leaf, uint64_t size, struct desk_part **ret, struct err *e)
{
	_cleanup_(desk_part_freep) struct desk_part *p = NULL;
	_cleanup_close_ int dir = enter(d, id, NULL, e);
	unsigned char mark[8];
	struct buf hex = { 0 };

	if (dir < 0)
		return -1;
	if (!leaf_ok(leaf))
		return err_set(e, ERR_INVALID, "that is no name for an artifact's file");
	if (check_room(d, id, size, e) < 0)
		return -1;
	p = xcalloc(1, sizeof(*p));
	p->desk = d;
	memcpy(p->id, id, strnlen(id, JOB_ID_BYTES - 1));
	p->size = size;
	p->fd = -EBADF;
	p->staged = openat(dir, "staged", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->staged < 0)
		return err_sys(e, "opening staged");
	random_bytes(mark, sizeof(mark));
	buf_z(&hex, ".part-");
	buf_hex(&hex, mark, sizeof(mark));
	p->fd = openat(p->staged, hex.p, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	p->tmp = p->fd < 0 ? NULL : xstrdup(hex.p);
	buf_fini(&hex);
	if (p->fd < 0)
		return err_sys(e, "making an artifact's file");
	p->leaf = str_dup(leaf);
	p->md5 = hash_new(HASH_MD5);
	*ret = take_ptr(p);
	return 0;
}

int desk_part_add(struct desk_part *p, struct str bytes, struct err *e)
{
	if (bytes.n > p->size - p->got)
		return err_set(e, ERR_TOO_LARGE, "more came than the %llu bytes that were announced",
		               (unsigned long long)p->size);
	p->got += bytes.n;
	hash_add(p->md5, bytes.p, bytes.n);
	return fd_write_all(p->fd, bytes.p, bytes.n, e);
}

int desk_part_end(struct desk_part *p, struct str md5, struct err *e)
{
	unsigned char sum[MD5_BYTES];
	_cleanup_buf_ struct buf hex = { 0 };

	hash_end(take_ptr(p->md5), sum);
	buf_hex(&hex, sum, sizeof(sum));
	if (p->got != p->size)
		return err_set(e, ERR_INVALID, "%llu bytes were announced, and %llu came", (unsigned long long)p->size,
		               (unsigned long long)p->got);
	if (!str_eq(buf_view(&hex), md5))
		return err_set(e, ERR_INVALID, "the bytes are damaged: their MD5 is %s", hex.p);
	if (fsync(p->fd) < 0 || renameat(p->staged, p->tmp, p->staged, p->leaf) < 0)
		return err_sys(e, "keeping the artifact %s", p->leaf);
	free(take_ptr(p->tmp));
	p->kept = true;
	return fsync(p->staged) < 0 ? err_sys(e, "syncing staged") : 0;
}

/* One that did not come whole took no room: it will come again. */
static void give_room_back(const struct desk_part *p)
{
	struct desk_host *h;

	desk_lock(p->desk);
	h = desk_find_locked(p->desk, p->id);
	if (h) /* not more than was taken of this very row */
		h->staged -= h->staged < p->size ? h->staged : p->size;
	desk_unlock(p->desk);
}

void desk_part_free(struct desk_part *p)
{
	if (!p)
		return;
	if (!p->kept)
		give_room_back(p);
	if (p->tmp)
		unlinkat(p->staged, p->tmp, 0);
	hash_free(p->md5);
	cleanup_closep(&p->fd);
	cleanup_closep(&p->staged);
	free(p->tmp);
	free(p->leaf);
	free(p);
}

/* ---- lists and the image ---- */

int desk_list(struct desk *d, const char *id, struct str leaf, struct err *e)
{
	_cleanup_close_ int dir = enter(d, id, NULL, e);
	_cleanup_free_ char *path = NULL;
	uint64_t n;
	int fd;

	if (dir < 0)
		return -1;
	if (!str_to_u64(leaf, &n))
		return err_set(e, ERR_NOT_FOUND, "there is no such list");
	path = strf("lists/%llu", (unsigned long long)n);
	fd = openat(dir, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no such list");
	return fd < 0 ? err_sys(e, "opening %s", path) : fd;
}

/* {"status","text"}: bloomery-image's exit status, and its last words. */
static int why_no_image(int dir, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j;
	const char *words;

	if (file_read_plain(dir, "image.error", ERROR_MAX, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	words = json_string_value(json_object_get(j, "text"));
	err_set(e, json_integer_value(json_object_get(j, "status")) == 3 ? ERR_NOT_FOUND : ERR_INVALID, "%s",
	        words ? words : "the image cannot be packed");
	json_decref(j);
	return -1;
}

int desk_image(struct desk *d, const char *id, json_t **ret_about, struct err *e)
{
	_cleanup_close_ int dir = enter(d, id, NULL, e), fd = -EBADF;
	_cleanup_buf_ struct buf text = { 0 };
	struct desk_host *h;
	json_t *j;

	if (dir < 0)
		return -1;
	if (desk_has(dir, "image.error"))
		return why_no_image(dir, e);
	if (!desk_has(dir, "image.json")) { /* which comes last */
		desk_lock(d);
		h = desk_find_locked(d, id);
		if (h)
			h->wants_image = true;
		desk_unlock(d);
		hand_look(d);
		return err_set(e, ERR_BUSY, "the image is being packed");
	}
	fd = openat(dir, "image.tar", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the image");
	if (file_read_at(dir, "image.json", IMAGE_JSON_MAX, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, ERR_IO, "image.json is damaged");
	}
	*ret_about = j;
	return take_fd(fd);
}
