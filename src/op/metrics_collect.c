/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "op/api.h"
#include "op/metrics.h"
#include "store/store.h"

enum { PROC_MAX = 1 << 20 };

/* ---- the process ---- */

static double cpu_seconds(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) < 0)
		return 0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	for (const struct dirent *entry; (entry = readdir(d));)
		n += entry->d_name[0] != '.';
	closedir(d);
	return n ? n - 1 : 0; /* without the one that reads */
}

/* The number after `blanks` blanks. */
static uint64_t field(struct str s, unsigned blanks)
{
	uint64_t n = 0;

	while (blanks--)
		str_cut(&s, ' ');
	s = str_cut(&s, ' ');
	str_to_u64(str_trim(s), &n);
	return n;
}

/* "btime" of /proc/stat, and the 22nd field of our own stat; the second one is a name that may hold anything. */
static double start_seconds(void)
{
	_cleanup_buf_ struct buf stat = { 0 }, self = { 0 };
	struct str rest, name;
	ptrdiff_t at;

	if (file_read("/proc/stat", PROC_MAX, &stat, NULL) < 0 ||
	    file_read("/proc/self/stat", PROC_MAX, &self, NULL) < 0)
		return 0;
	at = str_find(buf_view(&stat), STR("\nbtime "));
	if (at < 0)
		return 0;
	rest = (struct str){ stat.p + at + 7, stat.n - (size_t)at - 7 };
	name = buf_view(&self);
	return (double)field(str_cut(&rest, '\n'), 0) +
	       (double)field(str_cut_last(&name, ')'), 20) / (double)sysconf(_SC_CLK_TCK);
}

static void collect_process(struct metrics *m)
{
	_cleanup_buf_ struct buf statm = { 0 };
	struct rlimit limit;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (file_read("/proc/self/statm", PROC_MAX, &statm, NULL) == 0) {
		m->virtual_bytes = field(buf_view(&statm), 0) * page;
		m->resident_bytes = field(buf_view(&statm), 1) * page;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		m->max_fds = limit.rlim_cur;
	m->open_fds = open_descriptors();
	m->cpu_s = cpu_seconds();
	m->start_s = start_seconds();
}

static void collect_disk(const char *data_dir, struct metrics *m)
{
	struct statvfs v;

	if (statvfs(data_dir, &v) < 0)
		return;
	m->disk_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	m->disk_free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
}

/* ---- jobs ---- */

struct look {
	const char *data_dir;
	struct metrics *m;
	size_t channels;
};

static void add_job(struct str name, const char *id, void *arg)
{
	struct look *l = arg;
	struct metrics *m = l->m;
	struct feeds f;
	struct err e = { 0 };

	if (feeds_read(l->data_dir, id, &f, &e) < 0) {
		m->unreadable += e.kind != ERR_NOT_FOUND;
		return;
	}
	if (m->job_count == METRICS_JOBS || l->channels + f.count > METRICS_CHANNELS) {
		m->omitted++;
		return;
	}
	if (!(m->job_count & (m->job_count - 1)))
		m->jobs = xrealloc(m->jobs, (m->job_count ? 2 * m->job_count : 1) * sizeof(*m->jobs));
	m->jobs[m->job_count++] = (struct metrics_job){ str_dup(name), f };
	l->channels += f.count;
}

int metrics_collect(const struct api *api, struct metrics *ret, struct err *e)
{
	struct metrics m = { .version = BLOOMERY_VERSION };
	struct look l = { api->data_dir, &m, 0 };
	struct wall since = { wall_now().ms - METRICS_KEEP_S * 1000LL };

	/* Twice as many as are shown: jobs without channels take no room. */
	if (store_job_counts(api->store, KIND_TRAINING, m.counts, e) < 0 ||
	    store_job_each_current(api->store, KIND_TRAINING, since, 2 * METRICS_JOBS, add_job, &l, e) < 0) {
		metrics_fini(&m);
		return -1;
	}
	collect_disk(api->data_dir, &m);
	collect_process(&m);
	*ret = m;
	return 0;
}

void metrics_fini(struct metrics *m)
{
	for (size_t i = 0; i < m->job_count; i++)
		free(m->jobs[i].name);
	free(m->jobs);
	*m = (struct metrics){ 0 };
}
