/* SPDX-License-Identifier: Apache-2.0 */
#include "joblog/frame.h"

#include <inttypes.h>
#include <unistd.h>

enum { SOURCE_DRAFT = LOG_FROM_PLATFORM + 1 };

void joblog_head_write(unsigned char dst[JOBLOG_HEAD_BYTES], const unsigned char mark[JOBLOG_MARK_BYTES],
                       const struct joblog_frame *f)
{
	uint64_t at = htole64((uint64_t)f->at.ms), first = htole64(f->first);
	uint32_t length = htole32(f->length);

	memset(dst, 0, JOBLOG_HEAD_BYTES);
	memcpy(dst, mark, JOBLOG_MARK_BYTES);
	memcpy(dst + 8, &at, 8);
	memcpy(dst + 16, &first, 8);
	memcpy(dst + 24, &length, 4);
	dst[28] = f->draft ? SOURCE_DRAFT : (unsigned char)f->source;
	dst[29] = f->open;
	dst[30] = f->pipe;
	dst[31] = f->begins;
}

bool joblog_head_read(const unsigned char src[JOBLOG_HEAD_BYTES], const unsigned char mark[JOBLOG_MARK_BYTES],
                      struct joblog_frame *ret)
{
	uint64_t at, first;
	uint32_t length;

	if (memcmp(src, mark, JOBLOG_MARK_BYTES) != 0)
		return false;
	memcpy(&at, src + 8, 8);
	memcpy(&first, src + 16, 8);
	memcpy(&length, src + 24, 4);
	length = le32toh(length);
	if (!length || length > JOBLOG_BODY_MAX || src[28] > SOURCE_DRAFT || src[29] >> JOBLOG_PIPES ||
	    src[30] >= JOBLOG_PIPES || src[31] > 1 || (src[28] != SOURCE_DRAFT && (src[30] || src[31])))
		return false;
	*ret = (struct joblog_frame){ .at = { (int64_t)le64toh(at) },
		                      .first = le64toh(first),
		                      .length = length,
		                      .source = src[28] == LOG_FROM_PLATFORM ? LOG_FROM_PLATFORM : LOG_FROM_CONTAINER,
		                      .draft = src[28] == SOURCE_DRAFT,
		                      .begins = src[31],
		                      .pipe = src[30],
		                      .open = src[29] };
	return true;
}

uint64_t joblog_records(const struct joblog_frame *f, const char *body)
{
	return f->draft ? 0 : joblog_count(body, f->length);
}

uint64_t joblog_count(const char *p, size_t n)
{
	uint64_t count = n && p[n - 1] != '\n';

	for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		count++;
	return count;
}

int joblog_pread(int fd, void *p, size_t n, uint64_t offset, struct err *e)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (char *)p + got, n - got, (off_t)(offset + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "reading the log at byte %" PRIu64, offset);
		if (r == 0)
			return 0;
		got += (size_t)r;
	}
	return 1;
}

int joblog_mark_read(int fd, const char *path, unsigned char ret_mark[JOBLOG_MARK_BYTES], struct err *e)
{
	char head[JOBLOG_START];
	int rc = joblog_pread(fd, head, sizeof(head), 0, e);

	if (rc <= 0)
		return rc;
	if (memcmp(head, JOBLOG_MAGIC, 8) != 0)
		return err_set(e, ERR_INVALID, "%s is not a job log", path);
	memcpy(ret_mark, head + 8, JOBLOG_MARK_BYTES);
	return 1;
}

int joblog_frame_at(int fd, const unsigned char mark[JOBLOG_MARK_BYTES], uint64_t offset, struct joblog_frame *ret,
                    uint64_t *ret_next, struct err *e)
{
	unsigned char head[JOBLOG_HEAD_BYTES];
	struct joblog_frame f;
	uint32_t trailer;
	int rc;

	rc = joblog_pread(fd, head, sizeof(head), offset, e);
	if (rc <= 0)
		return rc;
	if (!joblog_head_read(head, mark, &f))
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, offset);
	rc = joblog_pread(fd, &trailer, sizeof(trailer), offset + sizeof(head) + f.length, e);
	if (rc <= 0)
		return rc;
	if (le32toh(trailer) != f.length)
		return err_set(e, ERR_IO, "the log is damaged at byte %" PRIu64, offset);
	*ret = f;
	*ret_next = offset + sizeof(head) + f.length + sizeof(trailer);
	return 1;
}
