/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/tracker.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10, SHARE_BYTES = 256 << 10, NAME_MAX_BYTES = 255, ENTRIES_MAX = 4096 };
static const int64_t past_ms = INT64_C(14) * 86400 * 1000, future_ms = INT64_C(2) * 3600 * 1000;

struct file {
	char *name;
	uint64_t inode, offset;
	bool skipping; /* the rest of a line that is too long */
	bool odd;      /* it was told that it cannot be read */
};

struct tracker {
	int root_fd;
	void (*say)(void *arg, const char *text);
	void *arg;
	struct file file[TRACKER_FILES_MAX];
	size_t count, turn; /* turn: whose it is to be read first */
	bool told_files, told_names;
	json_t *names;
	uint64_t values, refused;
	char *bytes; /* READ_BYTES */
};

/* ---- a line ---- */

static bool refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return false;
}

static bool take_name(const json_t *j, struct tracker_value *v)
{
	const json_t *name = json_object_get(j, "MetricName");

	v->name = (struct str){ json_string_value(name), json_string_length(name) };
	return json_is_string(name) && v->name.n && v->name.n <= NAME_MAX_BYTES;
}

static bool take_time(const json_t *j, struct wall now, struct tracker_value *v)
{
	const json_t *at = json_object_get(j, "Timestamp");
	double ms = json_number_value(at) * 1000;

	v->t = now;
	if (!at || json_is_null(at))
		return true;
	if (!json_is_number(at) || !(ms >= (double)(now.ms - past_ms) && ms <= (double)(now.ms + future_ms)))
		return false;
	v->t.ms = (int64_t)(ms + 0.5);
	return true;
}

static bool take_step(const json_t *j, struct tracker_value *v)
{
	const json_t *step = json_object_get(j, "IterationNumber");

	if (!step || json_is_null(step))
		step = json_object_get(j, "Step");
	v->has_step = step && !json_is_null(step);
	v->step = json_integer_value(step);
	return !v->has_step || json_is_integer(step);
}

bool tracker_parse(struct str line, struct wall now, struct tracker_value *ret, json_t **ret_json, const char **ret_why)
{
	json_t *j = json_loadb(line.p, line.n, 0, NULL);
	const json_t *value = json_object_get(j, "Value");

	*ret = (struct tracker_value){ 0 };
	*ret_json = j;
	if (!j)
		return refuse(ret_why, "it is no JSON (NaN and Infinity are not)");
	if (!json_is_object(j))
		return refuse(ret_why, "it is no JSON object");
	if (!take_name(j, ret))
		return refuse(ret_why, "MetricName is not a text of 1 to 255 bytes");
	ret->v = json_number_value(value);
	if (!json_is_number(value) || !isfinite(ret->v))
		return refuse(ret_why, "Value is not a number");
	if (!take_time(j, now, ret))
		return refuse(ret_why, "Timestamp is not a time in seconds, from two weeks ago to two hours ahead");
	if (!take_step(j, ret))
		return refuse(ret_why, "IterationNumber or Step is not an integer");
	return true;
}

static void say_refused(struct tracker *t, const struct file *f, struct str line, const char *why)
{
	_cleanup_free_ char *text = NULL;

	if (t->refused++ > 0)
		return;
	line.n = line.n < METRIC_SAMPLE_BYTES ? line.n : METRIC_SAMPLE_BYTES;
	text = strf("A line of the metrics file %s is left out, as %s: " PRIstr " (more of the like is not said here)",
	            f->name, why, ARGstr(line));
	t->say(t->arg, text);
}

static bool is_known(struct tracker *t, struct str name)
{
	_cleanup_free_ char *key = str_dup(name);

	if (strlen(key) != name.n)
		return false;
	if (json_object_get(t->names, key))
		return true;
	if (json_object_size(t->names) >= TRACKER_NAMES_MAX) {
		if (!t->told_names)
			t->say(t->arg,
			       "The files of metrics have more than 500 different ones; further ones are left out.");
		t->told_names = true;
		return false;
	}
	json_object_set_new(t->names, key, json_true());
	return true;
}

static void take_line(struct tracker *t, const struct file *f, struct str line, struct metric_out *out)
{
	struct tracker_value v;
	json_t *j = NULL;
	const char *why = NULL;

	line = str_trim(line);
	if (!line.n)
		return;
	if (!tracker_parse(line, wall_now(), &v, &j, &why)) {
		say_refused(t, f, line, why);
	} else if (is_known(t, v.name)) {
		metric_out_file_value(out, v.t, v.name, v.v, v.has_step ? &v.step : NULL);
		t->values++;
	}
	json_decref(j);
}

/* ---- a file ---- */

/* Takes the whole lines of what was read at f->offset, and steps over them. Returns how many bytes that were. */
static size_t take_bytes(struct tracker *t, struct file *f, struct str bytes, bool at_end, struct metric_out *out)
{
	size_t before = bytes.n;

	while (bytes.n) {
		const char *nl = memchr(bytes.p, '\n', bytes.n);
		struct str line = { bytes.p, nl ? (size_t)(nl - bytes.p) : bytes.n };

		if (!nl && !at_end && line.n <= TRACKER_LINE_MAX_BYTES)
			break;
		if (f->skipping)
			f->skipping = !nl;
		else if (line.n <= TRACKER_LINE_MAX_BYTES)
			take_line(t, f, line, out);
		else {
			say_refused(t, f, line, "it is longer than 16 KiB");
			f->skipping = !nl;
		}
		bytes.p += line.n + (nl != NULL);
		bytes.n -= line.n + (nl != NULL);
		if (metric_out_pending(out) >= METRIC_FRAME_BYTES) /* the rest comes when that is written */
			break;
	}
	f->offset += before - bytes.n;
	return before - bytes.n;
}

/* 1: there is more. */
static int read_file(struct tracker *t, struct file *f, int fd, size_t *budget, bool last, struct metric_out *out)
{
	while (*budget && metric_out_pending(out) < METRIC_FRAME_BYTES) {
		ssize_t n = pread(fd, t->bytes, READ_BYTES, (off_t)f->offset);
		size_t took;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		took = take_bytes(t, f, (struct str){ t->bytes, (size_t)n }, last && n < READ_BYTES, out);
		*budget -= took < *budget ? took : *budget;
		if (!took)
			return 0; /* the beginning of a line */
	}
	return 1;
}

/* NULL: there are too many. */
static struct file *file_of(struct tracker *t, const char *name)
{
	struct file *f;

	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->file[i].name, name) == 0)
			return &t->file[i];
	if (t->count == TRACKER_FILES_MAX) {
		if (!t->told_files)
			t->say(t->arg, "There are more than 128 files of metrics; further ones are not read.");
		t->told_files = true;
		return NULL;
	}
	f = &t->file[t->count++];
	*f = (struct file){ .name = xstrdup(name) };
	return f;
}

static int open_below(int dirfd, const char *path, int flags)
{
	/* openat2() takes no more flags beside O_PATH than make sense. */
	uint64_t more = flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct open_how how = { .flags = (uint64_t)flags | more,
		                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
		                           RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
}

static bool is_metrics_name(const char *name)
{
	struct str s = str_of(name);

	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return false;
	return str_ends(s, STR(".json")) && name[0] != '.' && utf8_valid(s);
}

static void say_odd(struct tracker *t, struct file *f, const char *why)
{
	_cleanup_free_ char *text = NULL;

	if (f->odd)
		return;
	f->odd = true;
	text = strf("The metrics file %s is not read: %s.", f->name, why);
	t->say(t->arg, text);
}

static int read_entry(struct tracker *t, int dirfd, struct file *f, size_t *budget, bool last, struct metric_out *out)
{
	/* First without opening it: to open what is no regular file may do something. */
	_cleanup_close_ int there = open_below(dirfd, f->name, O_PATH | O_NOFOLLOW);
	_cleanup_close_ int fd = -EBADF;
	struct stat st, opened;

	if (there < 0 || fstat(there, &st) < 0)
		return 0;
	if (f->inode != (uint64_t)st.st_ino) { /* new, or replaced by another */
		f->inode = (uint64_t)st.st_ino;
		f->offset = 0;
		f->skipping = f->odd = false;
	}
	if (!S_ISREG(st.st_mode)) {
		say_odd(t, f, "it is no regular file");
		return 0;
	}
	fd = open_below(dirfd, f->name, O_RDONLY | O_NOFOLLOW);
	if (fd < 0 && errno == EACCES)
		say_odd(t, f, "its mode does not let others read it");
	if (fd < 0 || fstat(fd, &opened) < 0 || !S_ISREG(opened.st_mode) || opened.st_ino != st.st_ino)
		return 0;
	if ((uint64_t)opened.st_size < f->offset) { /* emptied, and written anew */
		f->offset = 0;
		f->skipping = false;
	}
	return read_file(t, f, fd, budget, last, out);
}

static void find_files(struct tracker *t, DIR *d)
{
	size_t entries = 0;
	struct dirent *entry;

	while (entries++ < ENTRIES_MAX && (entry = readdir(d)))
		if (is_metrics_name(entry->d_name) && strlen(entry->d_name) <= NAME_MAX_BYTES)
			(void)file_of(t, entry->d_name);
}

/* A large file leaves room for the others, and who got none this time is the first the next time. */
static int read_files(struct tracker *t, int dirfd, size_t max_bytes, bool last, struct metric_out *out)
{
	size_t budget = max_bytes, i = 0;
	int more = 0;

	for (; i < t->count && budget && metric_out_pending(out) < METRIC_FRAME_BYTES; i++) {
		size_t share = budget < SHARE_BYTES ? budget : SHARE_BYTES, left = share;

		more |= read_entry(t, dirfd, &t->file[(t->turn + i) % t->count], &left, last, out);
		budget -= share - left;
	}
	if (i < t->count)
		more = 1;
	if (t->count)
		t->turn = (t->turn + i) % t->count;
	return more;
}

int tracker_read(struct tracker *t, size_t max_bytes, bool last, struct metric_out *out)
{
	int dirfd = open_below(t->root_fd, TRACKER_DIRECTORY, O_RDONLY | O_DIRECTORY), more;
	uint64_t values = t->values, sum = 0, after = 0;
	DIR *d;

	if (dirfd < 0)
		return 0;
	d = fdopendir(dirfd);
	if (!d) {
		close(dirfd);
		return 0;
	}
	for (size_t i = 0; i < t->count; i++)
		sum += t->file[i].offset;
	find_files(t, d);
	more = read_files(t, dirfd, max_bytes, last, out);
	closedir(d);
	for (size_t i = 0; i < t->count; i++)
		after += t->file[i].offset;
	if (t->values != values || after != sum)
		tracker_note(t, out);
	return more;
}

/* ---- what is left to whoever comes after ---- */

void tracker_note(const struct tracker *t, struct metric_out *out)
{
	json_t *files;

	if (!t || !t->count)
		return;
	files = json_array();
	for (size_t i = 0; i < t->count; i++) {
		const struct file *f = &t->file[i];
		json_t *j = json_pack("{s:s, s:I, s:I}", "name", f->name, "inode", (json_int_t)f->inode, "offset",
		                      (json_int_t)f->offset);

		must(j);
		if (f->skipping)
			json_object_set_new(j, "skipping", json_true());
		json_array_append_new(files, j);
	}
	metric_out_json(out, json_pack("{s:o, s:I, s:I}", "files", files, "values", (json_int_t)t->values, "refused",
	                               (json_int_t)t->refused));
}

static void restore(struct tracker *t, const json_t *left)
{
	const json_t *files = json_object_get(left, "files"), *j;
	size_t i;

	t->values = (uint64_t)json_integer_value(json_object_get(left, "values"));
	t->refused = (uint64_t)json_integer_value(json_object_get(left, "refused"));
	json_array_foreach (files, i, j) {
		const char *name = json_string_value(json_object_get(j, "name"));

		if (!name || t->count == TRACKER_FILES_MAX)
			continue;
		t->file[t->count++] = (struct file){
			.name = xstrdup(name),
			.inode = (uint64_t)json_integer_value(json_object_get(j, "inode")),
			.offset = (uint64_t)json_integer_value(json_object_get(j, "offset")),
			.skipping = json_is_true(json_object_get(j, "skipping")),
		};
	}
}

struct tracker *tracker_new(int root_fd, const json_t *files, void (*say)(void *arg, const char *text), void *arg)
{
	struct tracker *t = xcalloc(1, sizeof(*t));

	t->root_fd = root_fd;
	t->say = say;
	t->arg = arg;
	t->names = json_object();
	t->bytes = xrealloc(NULL, READ_BYTES);
	restore(t, files);
	return t;
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->file[i].name);
	json_decref(t->names);
	free(t->bytes);
	free(t);
}
