/* incoming.c - bytes on their way in, and what a crash leaves of them.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/object.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

/* Writing to the disk starts while bytes still arrive, so that the sync at the end of a big PUT is short. */
enum { FLUSH_STEP = 8 << 20 };

char *blob_id_new(char dst[BLOB_ID_BYTES])
{
	static const char digit[] = "0123456789abcdef";
	unsigned char r[16];

	random_bytes(r, sizeof(r));
	for (size_t i = 0; i < sizeof(r); i++) {
		dst[2 * i] = digit[r[i] >> 4];
		dst[2 * i + 1] = digit[r[i] & 15];
	}
	dst[32] = 0;
	return dst;
}

char *blob_path(char dst[BLOB_PATH_BYTES], const char *id)
{
	snprintf(dst, BLOB_PATH_BYTES, "%.2s/%.32s", id, id);
	return dst;
}

static char *incoming_path(char dst[BLOB_PATH_BYTES], const char *id)
{
	snprintf(dst, BLOB_PATH_BYTES, "incoming/%.32s", id);
	return dst;
}

int blob_in_begin(struct blob_store *b, struct blob_in *ret, struct err *e)
{
	struct blob_in in = { .b = b };
	char path[BLOB_PATH_BYTES];

	incoming_path(path, blob_id_new(in.id));
	in.fd = openat(b->objects, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (in.fd < 0)
		return err_sys(e, "creating objects/%s", path);
	if (fchmod(in.fd, 0644) < 0) {
		err_sys(e, "setting the mode of objects/%s", path);
		blob_in_end(&in);
		return -1;
	}
	*ret = in;
	return 0;
}

static void flush_early(struct blob_in *in)
{
	if (in->size - in->flushed < FLUSH_STEP)
		return;
	/* Only a head start: errors will be told by the sync that counts. */
	if (sync_file_range(in->fd, (off_t)(in->base + in->flushed), (off_t)(in->size - in->flushed),
	                    SYNC_FILE_RANGE_WRITE) == 0)
		in->flushed = in->size;
}

int blob_in_write(struct blob_in *in, struct str piece, struct err *e)
{
	while (piece.n) {
		ssize_t n = pwrite(in->fd, piece.p, piece.n, (off_t)(in->base + in->size));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "storing an object");
		piece.p += n;
		piece.n -= (size_t)n;
		in->size += (uint64_t)n;
	}
	flush_early(in);
	return 0;
}

static int copy_by_hand(struct blob_in *in, int from_fd, uint64_t offset, uint64_t length, struct err *e)
{
	_cleanup_free_ char *piece = xcalloc(1, 1 << 20);

	while (length) {
		ssize_t n = pread(from_fd, piece, length < 1 << 20 ? (size_t)length : 1 << 20, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "reading an object to copy it");
		if (n == 0)
			return err_set(e, ERR_IO, "an object's file is shorter than its row says");
		if (blob_in_write(in, (struct str){ piece, (size_t)n }, e) < 0)
			return -1;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

int blob_in_copy(struct blob_in *in, int from_fd, uint64_t offset, uint64_t length, struct err *e)
{
	while (length) {
		off_t at = (off_t)offset, to = (off_t)(in->base + in->size);
		ssize_t n = copy_file_range(from_fd, &at, in->fd, &to, length < 64 << 20 ? (size_t)length : 64 << 20,
		                            0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EXDEV && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
			return err_sys(e, "copying an object");
		if (n <= 0)
			return copy_by_hand(in, from_fd, offset, length, e);
		in->size += (uint64_t)n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
		flush_early(in);
	}
	return 0;
}

int blob_sync_file(int fd, struct err *e)
{
	return fdatasync(fd) < 0 ? err_sys(e, "syncing an object's bytes") : 0;
}

int blob_sync_dir(struct blob_store *b, const char *id, struct err *e)
{
	char path[] = { id[0], id[1], 0 };
	_cleanup_close_ int fd = openat(b->objects, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? err_sys(e, "syncing objects/%s", path) : 0;
}

int blob_in_seal(struct blob_in *in, struct err *e)
{
	char from[BLOB_PATH_BYTES], to[BLOB_PATH_BYTES];

	/* The second name first: on the usual file systems the sync of the new file then takes both names along, and
	 * the sync of the directory finds nothing left to do. */
	blob_path(to, in->id);
	if (!in->in_place && linkat(in->b->objects, incoming_path(from, in->id), in->b->objects, to, 0) < 0)
		return err_sys(e, "naming objects/%s", to);
	if (blob_sync_file(in->fd, e) < 0 || blob_sync_dir(in->b, in->id, e) < 0)
		return err_in(e, "objects/%s", to);
	return 0;
}

void blob_in_end(struct blob_in *in)
{
	char path[BLOB_PATH_BYTES];

	if (in->fd < 0)
		return;
	/* After a commit that failed half-way the row may still be on the disk: both names stay, and the next start
	 * finds out. */
	if (in->in_place)
		in->fate = BLOB_IN_UNSURE;
	if (in->fate == BLOB_IN_LOOSE)
		unlinkat(in->b->objects, blob_path(path, in->id), 0);
	if (in->fate != BLOB_IN_UNSURE && unlinkat(in->b->objects, incoming_path(path, in->id), 0) == 0 &&
	    in->fate == BLOB_IN_COMMITTED)
		db_landed(in->b->db, in->id);
	close(take_fd(in->fd));
}

enum s3_code blob_in_land(struct db_conn *c, const char *id, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_LANDING_ADD, e);

	if (st)
		db_bind_text(st, 1, str_of(id));
	return db_run(st, e);
}

static bool is_id(const char *name)
{
	return strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32;
}

/* One file found in incoming/ at start. */
static int sweep_one(struct blob_store *b, struct db_conn *c, const char *id, struct err *e)
{
	char path[BLOB_PATH_BYTES];
	sqlite3_stmt *st = db_stmt(c, DB_LANDING_GET, e);
	int landed;

	if (!st)
		return -1;
	db_bind_text(st, 1, str_of(id));
	landed = db_step(st, e);
	if (landed < 0)
		return -1;
	sqlite3_reset(st);
	if (!landed && unlinkat(b->objects, blob_path(path, id), 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing objects/%s", path);
	if (unlinkat(b->objects, incoming_path(path, id), 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing objects/%s", path);
	return 0;
}

static enum s3_code clear_landing(struct db_conn *c, void *arg, struct err *e)
{
	(void)arg;
	return db_run(db_stmt(c, DB_LANDING_CLEAR, e), e);
}

int blob_incoming_sweep(struct blob_store *b, struct err *e)
{
	int fd = openat(b->objects, "incoming", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct db_conn *c;
	struct dirent *ent;

	if (!d) {
		err_sys(e, "reading objects/incoming");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	c = db_reader(b->db, e);
	while (c && rc == 0 && (ent = readdir(d)))
		if (is_id(ent->d_name))
			rc = sweep_one(b, c, ent->d_name, e);
	if (c)
		db_reader_done(b->db, c);
	/* The removals must be on the disk before the table forgets why some files were kept. */
	if (c && rc == 0 && fsync(fd) < 0)
		rc = err_sys(e, "syncing objects/incoming");
	closedir(d);
	if (!c || rc < 0)
		return -1;
	return s3_code_to_err(db_write(b->db, clear_landing, NULL, e), e, "clearing the landing table");
}
