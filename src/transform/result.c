/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/result.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"

enum { COPY = 1 << 30, LOOK_EVERY = 1 << 20, RESERVE_MAX = 512 << 20, RESERVE_PART = 50 };

void result_init(struct result *r, struct result_house *house)
{
	*r = (struct result){ .house = house, .fd = -EBADF };
}

static void drop_memory(struct result *r)
{
	atomic_fetch_sub(&r->house->held, r->memory.n);
	buf_fini(&r->memory);
}

void result_fini(struct result *r)
{
	drop_memory(r);
	cleanup_closep(&r->fd);
	r->fd = -EBADF;
	r->size = 0;
}

static int need_room(struct result_house *h, uint64_t n, struct err *e)
{
	uint64_t before = atomic_fetch_add(&h->written, n), left, reserve;
	struct statvfs st;

	if (before / LOOK_EVERY == (before + n) / LOOK_EVERY || fstatvfs(h->dirfd, &st) < 0)
		return 0;
	left = (uint64_t)st.f_bavail * st.f_frsize;
	reserve = (uint64_t)st.f_blocks * st.f_frsize / RESERVE_PART;
	if (reserve > RESERVE_MAX)
		reserve = RESERVE_MAX;
	if (left >= reserve + n)
		return 0;
	return err_set(e, ERR_IO, "the disk where outputs wait has no room for more: %llu MB are left",
	               (unsigned long long)(left >> 20));
}

static int move_to_file(struct result *r, struct err *e)
{
	_cleanup_close_ int fd = openat(r->house->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(e, "making a file for an answer");
	if (need_room(r->house, r->memory.n, e) < 0 || fd_write_all(fd, r->memory.p, r->memory.n, e) < 0)
		return err_in(e, "keeping an answer");
	drop_memory(r);
	r->fd = take_fd(fd);
	return 0;
}

int result_add(struct result *r, struct str bytes, struct err *e)
{
	if (!bytes.n)
		return 0;
	if (r->fd < 0 && atomic_fetch_add(&r->house->held, bytes.n) + bytes.n > r->house->most) {
		atomic_fetch_sub(&r->house->held, bytes.n);
		if (move_to_file(r, e) < 0)
			return -1;
	}
	if (r->fd < 0)
		buf_str(&r->memory, bytes);
	else if (need_room(r->house, bytes.n, e) < 0 || fd_write_all(r->fd, bytes.p, bytes.n, e) < 0)
		return err_in(e, "keeping an answer");
	r->size += bytes.n;
	r->last = bytes.p[bytes.n - 1];
	return 0;
}

int result_view(struct result *r, struct str *ret, struct err *e)
{
	void *p;

	if (r->fd < 0 || !r->size) {
		*ret = buf_view(&r->memory);
		return 0;
	}
	p = mmap(NULL, r->size, PROT_READ, MAP_PRIVATE, r->fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, "looking at an answer");
	*ret = (struct str){ p, r->size };
	return 0;
}

void result_unview(struct result *r, struct str view)
{
	if (r->fd >= 0 && view.n)
		munmap((void *)view.p, view.n);
}

int result_write(struct result *r, int fd, struct err *e)
{
	off_t at = 0;

	if (need_room(r->house, r->size, e) < 0)
		return -1;
	if (r->fd < 0)
		return fd_write_all(fd, buf_view(&r->memory).p, r->memory.n, e);
	while ((uint64_t)at < r->size) {
		ssize_t n = sendfile(fd, r->fd, &at, COPY);

		if (n < 0 && errno != EINTR)
			return err_sys(e, "copying an answer");
		if (n == 0)
			return err_set(e, ERR_IO, "an answer that was kept became shorter");
	}
	return 0;
}
