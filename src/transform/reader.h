/* reader.h - the bytes of one object as a stream: a file of the embedded store, or an object of another S3; unpacked
 * when CompressionType is Gzip. Blocks; a reader is used by one thread at a time, the s3 client may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/list.h"
#include "s3/s3.h"

/* Where objects are; one of both. */
struct reader_place {
	int objects_fd; /* the store's directory of files; -EBADF: none */
	struct s3 *s3;  /* borrowed; NULL: none */
	struct str bucket;
	bool gzip;
};

struct reader;
int reader_open(const struct reader_place *from, const struct list_entry *entry, struct reader **ret,
                struct err *e) must_check;
void reader_close(struct reader *r); /* NULL is fine */
DEFINE_CLEANUP(struct reader, reader_close)

/* Up to n bytes to dst; *ret_n is 0 at the end only. ERR_CLIENT: what should be gzip is not. */
int reader_read(struct reader *r, char *dst, size_t n, size_t *ret_n, struct err *e) must_check;
void reader_rewind(struct reader *r); /* to the object's start */

/* The file of an object that is one, as it is; borrowed. -EBADF: it is none, or packed. */
int reader_file(const struct reader *r);
void reader_seek(struct reader *r, uint64_t at); /* of such a one */

/* Exactly n bytes of such a file, by any thread. */
int reader_part(int fd, uint64_t at, char *dst, size_t n, struct err *e) must_check;
/* The line feeds in n bytes of it. */
int reader_count_lines(int fd, uint64_t at, uint64_t n, uint64_t *ret, struct err *e) must_check;
