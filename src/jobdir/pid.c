/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/jobdir.h"

/* Field 22 of /proc/PID/stat; fields are counted behind the last ')', as the name before it may hold anything. */
static uint64_t start_time(pid_t pid, bool zombie_counts)
{
	_cleanup_buf_ struct buf text = { 0 };
	char path[40];
	struct str rest, field = { 0 };
	uint64_t t;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || file_read(path, 65536, &text, NULL) < 0)
		return 0;
	rest = buf_view(&text);
	rest = str_cut_last(&rest, ')');
	if (!str_skip(&rest, STR(" ")))
		return 0;
	for (int i = 3; i <= 22; i++) {
		field = str_cut(&rest, ' ');
		if (i == 3 && !zombie_counts && (str_is(field, "Z") || str_is(field, "X")))
			return 0;
	}
	return str_to_u64(field, &t) ? t : 0;
}

uint64_t process_start_time(pid_t pid)
{
	return start_time(pid, true);
}

int jobdir_write_pid(const char *job_dir, pid_t pid, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/pid", job_dir);
	_cleanup_free_ char *text = strf("%d %llu\n", (int)pid, (unsigned long long)process_start_time(pid));

	/* Not durable: after a power cut every process is gone, whatever is left of the file. */
	return file_write_atomic(AT_FDCWD, path, str_of(text), 0644, false, e);
}

/* False for anything that jobdir_write_pid has not written. */
static bool parse_pid(struct str text, uint64_t *ret_pid, uint64_t *ret_start)
{
	if (!str_ends(text, STR("\n")))
		return false;
	text.n--;
	return str_to_u64(str_cut(&text, ' '), ret_pid) && *ret_pid >= 1 && *ret_pid <= INT32_MAX &&
	       str_to_u64(text, ret_start);
}

int jobdir_alive(const char *job_dir, pid_t *ret_pid, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/pid", job_dir);
	_cleanup_buf_ struct buf text = { 0 };
	struct err why = { 0 };
	uint64_t pid, start;

	if (file_read_plain(AT_FDCWD, path, 100, &text, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND || why.kind == ERR_LIMIT)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	if (!parse_pid(buf_view(&text), &pid, &start)) /* a power cut, before the bytes were on the disk */
		return 0;
	if (start == 0 || start_time((pid_t)pid, false) != start)
		return 0;
	*ret_pid = (pid_t)pid;
	return 1;
}

int jobdir_write_exit(const char *job_dir, const char *text, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/exit", job_dir);

	return file_write_atomic(AT_FDCWD, path, str_of(text), 0644, true, e);
}

bool jobdir_has_exit(const char *job_dir)
{
	_cleanup_free_ char *path = strf("%s/exit", job_dir);

	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
