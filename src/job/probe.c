/* What the channels of a job that is not created would be, and what it would get of the machine.
 *
 * A channel is listed as the freezer lists it (lists.h), into a directory that is gone afterwards, so what is found out
 * is what a job would be told. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "job/control.h"
#include "job/lists.h"
#include "job/share.h"

#define PROBES "probes"

enum { LIMIT_MS = 15000 };

void probes_remove(const char *data_dir)
{
	_cleanup_free_ char *dir = strf("%s/" PROBES, data_dir);

	(void)!remove_tree(AT_FDCWD, dir, NULL);
}

struct probe {
	struct jobs *js;
	const json_t *request;
	unsigned hosts;
	struct mono since;
	int dirfd, timer_fd;
};

static bool is_over(void *arg)
{
	const struct probe *p = arg;

	return mono_ms_since(p->since) > LIMIT_MS;
}

/* The largest share that a host gets of a channel: of every how many-th object it is. 0: no host gets any. */
static unsigned share_count(const struct probe *p, const json_t *channel)
{
	unsigned least = 0;

	for (unsigned host = 1; host <= p->hosts; host++) {
		struct channel_share share = share_of_channel(p->request, channel, host, p->hosts);

		if (!share.absent && (!least || share.count < least))
			least = share.count;
	}
	return least;
}

/* *s is finished by the caller. */
static int list_channel(const struct probe *p, const json_t *channel, struct job_spec *s, struct err *e)
{
	const struct remote remote = { .conf = p->js->conf, .program = p->js->fetch_program };
	struct lists l = { .blobs = p->js->blobs,
		           .iam = p->js->iam,
		           .remote = jobs_data_is_embedded(p->js) ? NULL : &remote,
		           .away = p->js->desk != NULL,
		           .dirfd = p->dirfd,
		           .stop_fd = p->timer_fd,
		           .stopped = is_over,
		           .arg = (void *)p };

	s->id = xstrdup("0000000000000000");
	s->host_count = 2; /* undivided, and its room is not looked at */
	s->request = json_copy((json_t *)p->request);
	json_object_set_new(s->request, "InputDataConfig", json_pack("[O]", channel));
	return lists_make(&l, s, e);
}

static json_t *probe_channel(const struct probe *p, const json_t *channel)
{
	json_t *j = json_pack("{sO sI}", "ChannelName", json_object_get(channel, "ChannelName"), "Shares",
	                      (json_int_t)share_count(p, channel));
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct job_spec s = { 0 };
	struct err e = { 0 };
	int rc = list_channel(p, channel, &s, &e);

	must(j);
	if (rc < 0) {
		json_object_set_new(j, e.kind == ERR_CLIENT ? "Fault" : "Unknown",
		                    json_string(err_text(&e, text, sizeof(text))) ?: json_string("not UTF-8"));
	} else if (s.channels[0].place != PLACE_FILE_SYSTEM) {
		json_object_set_new(j, "Objects", json_integer((json_int_t)s.channels[0].objects));
		json_object_set_new(j, "Bytes", json_integer((json_int_t)s.channels[0].bytes));
		json_object_set_new(j, "Copied", json_boolean(s.channels[0].place == PLACE_REMOTE));
	}
	spec_fini(&s);
	return j;
}

static int open_probe(const struct jobs *js, char **ret_path, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/" PROBES, js->data_dir), *path = strf("%s/XXXXXX", dir);
	int fd;

	if (mkdir_all(AT_FDCWD, dir, 0700, e) < 0)
		return -1;
	if (!mkdtemp(path))
		return err_sys(e, "making a directory in %s", dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	*ret_path = take_ptr(path);
	return fd;
}

int jobs_probe(struct jobs *js, const json_t *request, unsigned hosts, const json_t *but, json_t **ret, struct err *e)
{
	const struct itimerspec limit = { .it_value.tv_sec = LIMIT_MS / 1000 };
	const json_t *channels = json_object_get(request, "InputDataConfig"), *c;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int dirfd = open_probe(js, &path, e);
	_cleanup_close_ int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct probe p = { js, request, hosts, mono_now(), dirfd, timer_fd };
	size_t i;

	if (dirfd < 0)
		return -1;
	if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &limit, NULL) < 0) {
		err_sys(e, "making a timer");
		(void)!remove_tree(AT_FDCWD, path, NULL);
		return -1;
	}
	*ret = json_array();
	json_array_foreach (channels, i, c) {
		const json_t *known = json_object_get(but, json_string_value(json_object_get(c, "ChannelName")));
		json_t *j;

		if (known)
			j = json_pack("{sO sI sO* sO* sb}", "ChannelName", json_object_get(c, "ChannelName"), "Shares",
			              (json_int_t)share_count(&p, c), "Objects", json_object_get(known, "Objects"),
			              "Bytes", json_object_get(known, "Bytes"), "Copied", 0);
		else
			j = probe_channel(&p, c);
		must(j);
		json_array_append_new(*ret, j);
	}
	if (remove_tree(AT_FDCWD, path, e) < 0) {
		json_decref(*ret);
		*ret = NULL;
		return -1;
	}
	return 0;
}

char *jobs_clipped(const struct jobs *js, const struct capacity_needs *n)
{
	struct capacity_share share;
	struct job_limits l = { 0 };
	char *text;

	capacity_host_limits(&js->capacity, n, 1, &l, &share);
	text = take_ptr(l.clipped);
	job_limits_fini(&l);
	return text;
}

uint64_t jobs_free_bytes(const struct jobs *js)
{
	struct statvfs st;

	return statvfs(js->data_dir, &st) < 0 ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}
