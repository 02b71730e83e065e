/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"

enum { LAST_WORDS_BYTES = 400 };

static void find_out(struct job *j);

/* ---- the table ---- */

static struct job *find(struct host *h, struct str id)
{
	for (struct job *j = h->jobs; j; j = j->next)
		if (str_is(id, j->id))
			return j;
	return NULL;
}

struct job *job_get(struct host *h, struct str id, struct err *e)
{
	struct job *j;
	char leaf[17];
	int fd;

	if (!job_id_valid(id)) {
		err_set(e, ERR_INVALID, "'%.*s' is not a job id", (int)(id.n < 64 ? id.n : 64), id.p);
		return NULL;
	}
	j = find(h, id);
	if (j)
		return j;
	memcpy(leaf, id.p, 16);
	leaf[16] = 0;
	fd = open_beneath(h->jobs_fd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, e);
	if (fd < 0)
		return NULL;
	j = xcalloc(1, sizeof(*j));
	*j = (struct job){ .host = h, .next = h->jobs, .dir_fd = fd, .wd = -1, .stop.fd = -EBADF };
	memcpy(j->id, leaf, sizeof(leaf));
	snprintf(j->path, sizeof(j->path), "/proc/self/fd/%d", fd);
	h->jobs = j;
	find_out(j);
	return j;
}

void job_free(struct job *j)
{
	struct job **at = &j->host->jobs;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	job_stop_end(j);
	loop_source_free(j->process);
	loop_source_free(j->clean.process);
	loop_source_free(j->clean.limit);
	if (j->wd >= 0)
		inotify_rm_watch(j->host->inotify_fd, j->wd);
	cleanup_closep(&j->dir_fd);
	free(j->reason);
	free(j);
}

void job_settle(struct job *j)
{
	bool over = j->at == JOB_ENDED || j->at == JOB_LOST || j->at == JOB_IDLE;

	if (over && j->clean.wanted && !j->clean.pid && !job_forget_clean(j)) {
		job_clean(j);
		return;
	}
	if (over && !j->watched && !j->clean.pid)
		job_free(j);
}

/* ---- where a job is ---- */

static char *read_small(struct job *j, const char *leaf)
{
	_cleanup_close_ int fd = open_plain(j->dir_fd, leaf, O_RDONLY, 0, NULL);
	char text[4096];
	struct str s;
	size_t n = 0;

	if (fd < 0 || fd_read_full(fd, text, sizeof(text), &n, NULL) < 0)
		return NULL;
	s = str_trim((struct str){ text, n });
	return utf8_valid(s) && !str_has_byte(s, 0) ? str_dup(s) : NULL;
}

/* A supervisor locks its journal before anything else, so that it is found before it has written its pid. Who holds the
 * lock is read, as trying the lock might be what makes a supervisor fail that starts just now. 0: nobody. Only asked
 * when there is a journal: /proc/locks costs 20 ms, as the kernel first waits until no processor is locking a file. */
static pid_t lock_holder(const struct job *j)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *file = NULL;
	struct stat st;
	struct str rest;

	if (fstatat(j->dir_fd, "journal", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    file_read("/proc/locks", 16 << 20, &text, NULL) < 0)
		return 0;
	file = strf(" %02x:%02x:%llu ", major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
	for (rest = buf_view(&text); rest.n;) {
		struct str line = str_cut(&rest, '\n'), before = line;
		ptrdiff_t at = str_find(line, str_of(file));
		uint64_t pid;

		if (at < 0 || str_find(line, STR(" FLOCK ")) < 0 || str_find(line, STR("->")) >= 0)
			continue;
		before.n = (size_t)at;
		if (str_to_u64(str_cut_last(&before, ' '), &pid) && pid > 0 && process_start_time((pid_t)pid))
			return (pid_t)pid;
	}
	return 0;
}

static bool has(const struct job *j, const char *leaf)
{
	return faccessat(j->dir_fd, leaf, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void gone(struct job *j, char *reason);

static void on_process(void *arg, int code, int status);

static void adopt(struct job *j, pid_t pid)
{
	j->at = JOB_RUNS;
	j->pid = pid;
	follow_job(j);
	j->process = loop_process(j->host->loop, pid, false, on_process, j);
	if (!j->process) /* it ended between the two looks */
		find_out(j);
}

/* Looks at the directory and takes over, notes the end, or cleans up. */
static void find_out(struct job *j)
{
	struct err e = { 0 };
	pid_t pid;
	int alive = jobdir_alive(j->path, &pid, &e);

	if (alive < 0)
		log_err(LOG_WARN, &e, "job %s", j->id);
	if (has(j, "elsewhere")) {
		j->at = JOB_IDLE;
	} else if (alive > 0) {
		adopt(j, pid);
	} else if (has(j, "exit")) {
		j->at = JOB_ENDED;
	} else if (has(j, "lost")) {
		free(j->reason);
		j->reason = read_small(j, "lost");
		j->at = JOB_LOST;
	} else if ((pid = lock_holder(j)) > 0) {
		adopt(j, pid);
	} else if (has(j, "pid") || has(j, "journal") || j->at == JOB_RUNS) {
		gone(j, xstrdup("The training host's supervisor, bloomery-job, has gone without a word while nobody "
		                "watched, "
		                "as when the machine is restarted. Create the job again."));
	} else {
		j->at = JOB_IDLE;
	}
}

/* ---- the end of a supervisor ---- */

static void append_last_words(struct job *j, struct buf *reason)
{
	_cleanup_close_ int fd = open_plain(j->dir_fd, "supervisor.log", O_RDONLY, 0, NULL);
	char text[4096];
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	ssize_t n = end <= 0 ? 0
	                     : pread(fd, text, sizeof(text), end > (off_t)sizeof(text) ? end - (off_t)sizeof(text) : 0);
	struct str all = { text, n > 0 ? (size_t)n : 0 }, line;

	all = str_trim(all);
	line = str_cut_last(&all, '\n');
	if (line.n > LAST_WORDS_BYTES)
		line.n = LAST_WORDS_BYTES;
	while (line.n && !utf8_valid(line))
		line.n--;
	if (line.n)
		buf_f(reason, " Its last words: " PRIstr, ARGstr(line));
}

/* code and status: waitid's; code -1: it was not our child. */
static char *reason_of(struct job *j, int code, int status)
{
	struct buf b = { 0 };

	buf_z(&b, "The training host's supervisor, bloomery-job, ");
	if (code == CLD_EXITED) {
		buf_f(&b, "ended with status %d before the job was done.", status);
		append_last_words(j, &b);
	} else if (code == CLD_KILLED || code == CLD_DUMPED) {
		buf_f(&b, "was killed by signal %d (%s). Create the job again.", status, strsignal(status));
	} else {
		buf_z(&b, "was killed or ended before the job was done. Create the job again.");
	}
	return buf_take(&b);
}

/* Steals reason. What the supervisor can have left is removed first; job_cleaned() goes on. */
static void gone(struct job *j, char *reason)
{
	free(j->reason);
	j->reason = reason;
	j->gone = wall_now();
	j->at = JOB_CLEANING;
	job_clean(j);
}

static void on_process(void *arg, int code, int status)
{
	struct job *j = arg;
	pid_t other;

	loop_source_free(take_ptr(j->process));
	j->pid = 0;
	job_pump(j); /* its last facts */
	job_stop_end(j);
	if (jobdir_alive(j->path, &other, NULL) > 0 || has(j, "exit") || has(j, "lost") || lock_holder(j))
		find_out(j); /* it had ended, or another one was there first */
	else
		gone(j, reason_of(j, code, status));
	job_pump(j);
	job_settle(j);
}

/* The file's time is when the supervisor was seen to be gone, not when all was cleaned up: it is asked for again, by
 * then perhaps of a host that knows the file only. */
static int write_lost(const struct job *j, struct err *e)
{
	const struct timespec at = { .tv_sec = j->gone.ms / 1000, .tv_nsec = j->gone.ms % 1000 * 1000000 };

	if (file_write_atomic(j->dir_fd, "lost", str_of(j->reason), 0644, true, e) < 0)
		return -1;
	if (j->gone.ms && utimensat(j->dir_fd, "lost", (const struct timespec[]){ at, at }, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "setting the time of lost");
	return 0;
}

static int note_end(const struct fact *f, void *arg, struct err *e)
{
	(void)e;
	if (f->kind == FACT_ENDED)
		*(bool *)arg = true;
	return 0;
}

void job_cleaned(struct job *j, bool ok)
{
	struct err e = { 0 };
	uint64_t offset = 0;
	bool ended = false;

	if (j->clean.depth == CLEAN_REMOVE) {
		if (!ok)
			log_error("job %s: its directory could not be removed", j->id);
		job_free(j);
		return;
	}
	if (j->at != JOB_CLEANING) {
		job_settle(j);
		return;
	}
	if (!ok)
		j->reason = strf("%s Cleaning up after it failed; bloomery-host's log says why.", take_ptr(j->reason));
	if (journal_read(j->path, 0, &offset, note_end, &ended, &e) < 0)
		log_err(LOG_WARN, &e, "job %s", j->id);
	if (ended && jobdir_write_exit(j->path, "ended; cleaned up by bloomery-host\n", &e) < 0)
		log_err(LOG_WARN, &e, "job %s: writing exit", j->id);
	else if (!ended && write_lost(j, &e) < 0)
		log_err(LOG_WARN, &e, "job %s", j->id);
	j->at = ended ? JOB_ENDED : JOB_LOST;
	log_info("job %s: %s", j->id, ended ? "ended" : j->reason);
	job_pump(j);
	job_settle(j);
}

/* ---- launching ---- */

static int start_supervisor(struct job *j, struct err *e)
{
	_cleanup_close_ int log = open_plain(j->dir_fd, "supervisor.log", O_WRONLY | O_CREAT | O_APPEND, 0644, e);
	_cleanup_free_ char *dir = strf("%s/jobs/%s", j->host->options.data_dir, j->id);
	_cleanup_free_ char *fs = strf("%d", j->host->conf_fd);
	const char *const argv[] = { j->host->supervisor, "--dir", dir,
		                     "--conf-fd",         fs,      j->host->no_network ? "--no-network" : NULL,
		                     j->host->no_network, NULL };
	const struct spawn_options o = { .argv = argv,
		                         .in = -1,
		                         .out = -1,
		                         .err_fd = log,
		                         .keep = &j->host->conf_fd,
		                         .keep_count = 1,
		                         .setsid = true };

	if (log < 0)
		return err_in(e, "creating supervisor.log");
	follow_job(j);
	if (spawn(&o, &j->pid, e) < 0)
		return -1;
	j->at = JOB_RUNS;
	j->process = loop_process(j->host->loop, j->pid, true, on_process, j);
	return j->process ? 0 : err_sys(e, "watching the supervisor");
}

bool job_refuse_elsewhere(struct job *j)
{
	bool elsewhere = has(j, "elsewhere");

	if (elsewhere)
		link_lost(j->host, j->id,
		          "The job's hosts were to be started by hand, and bloomery.conf has another launcher now.");
	return elsewhere;
}

void job_launch(struct job *j)
{
	struct err e = { 0 };
	char text[2048];

	if (j->at != JOB_IDLE || j->clean.wanted)
		return;
	if (job_refuse_elsewhere(j))
		return;
	if (start_supervisor(j, &e) == 0)
		return;
	log_err(LOG_ERROR, &e, "job %s: starting its supervisor", j->id);
	gone(j, strf("The training host's supervisor, bloomery-job, could not be started: %s",
	             err_text(&e, text, sizeof(text))));
}

void host_scan(struct host *h)
{
	_cleanup_close_ int fd = openat(h->jobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;

	if (!d) {
		log_error("reading the directory of jobs: %s", strerror(errno));
		return;
	}
	(void)take_fd(fd);
	while ((ent = readdir(d))) {
		struct err e = { 0 };
		struct job *j = job_id_valid(str_of(ent->d_name)) ? job_get(h, str_of(ent->d_name), &e) : NULL;

		if (j && j->at == JOB_RUNS)
			log_info("job %s: its supervisor, process %d, is taken over", j->id, (int)j->pid);
		if (j)
			job_settle(j);
	}
	closedir(d);
}
