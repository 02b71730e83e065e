/* The launcher for hosts that somebody else starts: nothing is launched, they come and say hello.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What they send is in their directories when we hear of it (desk_files.c), so following them is reading their
 * journals. Directories of an earlier setting, without `elsewhere`, are bloomery-host's as ever. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/desk_inside.h"

enum { TICK_MS = 1000, LOST_MAX = 4096 };

struct launcher {
	struct desk *desk;
	struct loop *loop;
	const struct launcher_events *events;
	void *arg;
	struct launcher *local;
	struct loop_source *tick, *soon, *up;
};

static char *path_of(const struct launcher *l, const char *id)
{
	return strf("%s/jobs/%s", l->desk->data_dir, id);
}

static bool is_ours(const struct launcher *l, const char *id)
{
	_cleanup_close_ int dir = desk_dir(l->desk, id, NULL);

	return dir >= 0 && desk_has(dir, "elsewhere");
}

/* ---- the table ---- */

static struct desk_host *find(struct launcher *l, const char *id)
{
	struct desk_host *h;

	desk_lock(l->desk);
	h = desk_find_locked(l->desk, id);
	desk_unlock(l->desk);
	return h; /* nobody but us takes any out */
}

static void drop(struct launcher *l, struct desk_host *h)
{
	struct desk_host **at;

	desk_lock(l->desk);
	for (at = &l->desk->shared.hosts; *at != h;)
		at = &(*at)->next;
	*at = h->next;
	desk_unlock(l->desk);
	desk_tell(l->desk, h->id);
	desk_host_free(h);
}

/* An artifact of all hosts' volumes may be packed as it is, each file with its tar header. */
static uint64_t staged_max(const struct job_spec *s)
{
	return 4 * s->limits.volume_bytes + (UINT64_C(1) << 30);
}

static struct desk_host *read_host(struct launcher *l, const char *id, struct err *e)
{
	_cleanup_free_ char *path = path_of(l, id), *instance = NULL;
	_cleanup_close_ int dir = desk_dir(l->desk, id, e);
	struct job_spec s;
	struct desk_host *h;

	if (dir < 0 || spec_load(path, &s, e) < 0)
		return NULL;
	h = xcalloc(1, sizeof(*h));
	memcpy(h->id, id, strnlen(id, JOB_ID_BYTES - 1));
	h->job = xstrdup(s.name);
	h->host_name = xstrdup(s.host_name);
	h->image = xstrdup(s.image);
	h->bucket = xstrdup(s.output_bucket);
	h->key = strf("%s%s%s/output/", s.output_prefix, *s.output_prefix ? "/" : "", s.name);
	h->number = s.host_number;
	h->count = s.host_count;
	h->staged_max = staged_max(&s);
	h->version = desk_version(0);
	if (!desk_begun(dir, &h->address, &instance, &h->skew_ms))
		h->address = NULL;
	spec_fini(&s);
	return h;
}

/* A row for a host that may be heard of. NULL: its directory tells nothing, and that was told. */
static struct desk_host *ensure(struct launcher *l, const char *id)
{
	struct desk_host *h = find(l, id);
	struct err e = { 0 };

	if (h)
		return h;
	h = read_host(l, id, &e);
	if (!h) {
		log_err(LOG_ERROR, &e, "host %s", id);
		return NULL;
	}
	desk_lock(l->desk);
	h->next = l->desk->shared.hosts;
	l->desk->shared.hosts = h;
	desk_unlock(l->desk);
	return h;
}

/* ---- facts ---- */

struct pumping {
	struct launcher *l;
	struct desk_host *h;
	unsigned watches;
	int64_t skew_ms;
};

/* A host's clock is its own: times are told by ours, as well as they can be compared. */
static int deliver(const struct fact *f, void *arg, struct err *e)
{
	struct pumping *p = arg;
	struct fact ours = *f;
	int64_t now = wall_now().ms;

	ours.at.ms += p->skew_ms;
	if (ours.at.ms > now || ours.at.ms < 0)
		ours.at.ms = now;
	p->l->events->on_fact(p->l->arg, str_of(p->h->id), &ours);
	if (p->watches != p->h->watches)
		return err_set(e, ERR_BUSY, "it is to be read from another fact on");
	p->h->after = f->n;
	p->h->over |= f->kind == FACT_ENDED;
	return 0;
}

static void tell_lost(struct launcher *l, struct desk_host *h, struct str reason, struct wall at)
{
	char id[JOB_ID_BYTES];

	memcpy(id, h->id, sizeof(id));
	drop(l, h);
	l->events->on_lost(l->arg, str_of(id), reason, at);
}

/* The image is needed no more. */
static void finish(struct launcher *l, struct desk_host *h)
{
	_cleanup_close_ int dir = desk_dir(l->desk, h->id, NULL);

	if (dir >= 0 && ((unlinkat(dir, "image.json", 0) < 0 && errno != ENOENT) ||
	                 (unlinkat(dir, "image.tar", 0) < 0 && errno != ENOENT)))
		log_warn("host %s: removing its image: %s", h->id, strerror(errno));
}

/* Tells what has come since. May take h out of the table. */
static void pump(struct launcher *l, struct desk_host *h)
{
	_cleanup_free_ char *path = path_of(l, h->id);
	_cleanup_close_ int dir = desk_dir(l->desk, h->id, NULL);
	_cleanup_buf_ struct buf reason = { 0 };
	struct pumping p = { .l = l, .h = h, .watches = h->watches };
	uint64_t offset = h->offset;
	struct err e = { 0 };
	struct stat st;
	int rc;

	desk_lock(l->desk);
	p.skew_ms = h->skew_ms;
	h->fresh = false;
	desk_unlock(l->desk);
	if (!h->watched)
		return;
	rc = journal_read(path, h->after, &offset, deliver, &p, &e);
	if (p.watches != h->watches)
		return; /* and that watch will be served */
	h->offset = offset;
	if (rc < 0) {
		log_err(LOG_ERROR, &e, "host %s: its journal is unreadable", h->id);
		tell_lost(l, h, STR("The journal of a training host is damaged, so its end is not known."), wall_now());
	} else if (h->over) {
		finish(l, h);
		drop(l, h);
	} else if (dir >= 0 && file_read_plain(dir, "lost", LOST_MAX, &reason, NULL) == 0 &&
	           fstatat(dir, "lost", &st, AT_SYMLINK_NOFOLLOW) == 0) {
		finish(l, h);
		tell_lost(l, h, str_trim(buf_view(&reason)), (struct wall){ (int64_t)st.st_mtim.tv_sec * 1000 });
	}
}

/* Those of whom there is something to tell, one at a time, as each may change the table. */
static void pump_fresh(void *arg)
{
	struct launcher *l = arg;
	struct desk_host *h;

	do {
		desk_lock(l->desk);
		for (h = l->desk->shared.hosts; h && !(h->fresh && h->watched);)
			h = h->next;
		desk_unlock(l->desk);
		if (h)
			pump(l, h);
	} while (h);
}

static void ask_for_images(struct launcher *l)
{
	desk_lock(l->desk);
	for (struct desk_host *h = l->desk->shared.hosts; h; h = h->next) {
		if (h->wants_image)
			launcher_local.pack(l->local, h->id, h->image);
		h->wants_image = false;
	}
	desk_unlock(l->desk);
}

static void look(void *arg)
{
	struct desk *d = arg;

	if (!d->hand)
		return;
	ask_for_images(d->hand);
	pump_fresh(d->hand);
}

void hand_look(struct desk *d)
{
	if (d->loop)
		loop_post(d->loop, look, d);
}

/* ---- silence ---- */

/* It is kept in the directory, so that it stays so. */
static void lose(struct launcher *l, struct desk_host *h)
{
	_cleanup_close_ int dir = desk_dir(l->desk, h->id, NULL);
	_cleanup_free_ char *text = strf("The training host %s (%s) has not been heard of for %lld seconds "
	                                 "(host_patience_seconds). Its bloomery-job was killed, or its machine or the "
	                                 "network to it is down. Create the job again.",
	                                 h->host_name, h->address, (long long)l->desk->patience_ms / 1000);
	struct err e = { 0 };

	log_warn("host %s: %s", h->id, text);
	if (dir < 0 || file_write_atomic(dir, "lost", str_of(text), 0644, true, &e) < 0) {
		log_err(LOG_ERROR, &e, "host %s: it is lost, and that cannot be written", h->id);
		return; /* the next tick tries again */
	}
	pump(l, h);
}

/* Time is counted in ticks: when we were stopped ourselves, nobody was silent. */
static struct desk_host *next_silent(struct launcher *l, bool count)
{
	struct desk_host *silent = NULL;

	desk_lock(l->desk);
	for (struct desk_host *h = l->desk->shared.hosts; h; h = h->next) {
		if (h->heard || !h->address)
			h->silent_ms = 0;
		else if (count)
			h->silent_ms += TICK_MS;
		h->heard = false;
		if (h->watched && h->silent_ms >= l->desk->patience_ms && !silent)
			silent = h;
	}
	desk_unlock(l->desk);
	return silent;
}

static void on_tick(void *arg)
{
	struct launcher *l = arg;
	struct desk_host *h = next_silent(l, true);

	if (h)
		lose(l, h); /* others after the next tick */
	desk_tell(l->desk, NULL);
}

/* ---- what is asked of us ---- */

static void on_own_up(void *arg)
{
	struct launcher *l = arg;

	l->events->on_up(l->arg);
	desk_lock(l->desk);
	l->desk->shared.complete = true;
	desk_unlock(l->desk);
}

static struct launcher *hand_open(const struct launcher_options *o)
{
	struct launcher *l = xcalloc(1, sizeof(*l));

	*l = (struct launcher){ .desk = o->desk, .loop = o->loop, .events = o->events, .arg = o->arg };
	l->local = launcher_local.open(o);
	l->tick = loop_timer(l->loop, TICK_MS, TICK_MS, on_tick, l);
	l->soon = loop_timer(l->loop, -1, 0, pump_fresh, l);
	l->up = loop_timer(l->loop, 0, 0, on_own_up, l);
	l->desk->loop = l->loop;
	l->desk->hand = l;
	return l;
}

static void hand_close(struct launcher *l)
{
	if (!l)
		return;
	l->desk->hand = NULL;
	l->desk->loop = NULL;
	loop_source_free(l->tick);
	loop_source_free(l->soon);
	loop_source_free(l->up);
	launcher_local.close(l->local);
	free(l);
}

static void hand_launch(struct launcher *l, const char *id)
{
	if (!is_ours(l, id))
		launcher_local.launch(l->local, id);
	else if (!find(l, id) && ensure(l, id))
		log_info("host %s: waits to be started by hand (bloomery host spec)", id);
}

static void hand_watch(struct launcher *l, const char *id, uint64_t after)
{
	struct desk_host *h;

	if (!is_ours(l, id)) {
		launcher_local.watch(l->local, id, after);
		return;
	}
	h = ensure(l, id);
	if (!h)
		return;
	h->watched = true;
	h->over = false;
	h->after = after;
	h->offset = 0;
	h->watches++;
	desk_lock(l->desk);
	h->fresh = true;
	desk_unlock(l->desk);
	loop_timer_set(l->soon, 0, 0);
}

/* Nobody has started it, and nobody shall: we tell its end in its place. */
static int end_unstarted(struct launcher *l, const char *id, struct err *e)
{
	_cleanup_free_ char *path = path_of(l, id);
	_cleanup_(journal_closep) struct journal *j = NULL;
	json_t *args = json_pack("{ss ss}", "result", "stopped", "reason", "");
	int rc;

	must(args);
	rc = jobdir_has_exit(path) ? 0 : journal_open(path, &j, e);
	if (rc == 0 && j)
		rc = journal_add(j, FACT_ENDED, args, e);
	json_decref(args);
	return rc < 0 || !j ? rc : jobdir_write_exit(path, "stopped before it was started\n", e);
}

static void order(struct launcher *l, const char *id, enum desk_word word)
{
	struct desk_host *h = ensure(l, id);
	struct err e = { 0 };
	int rc = 0;

	if (!h)
		return;
	desk_lock(l->desk);
	if (!h->address && word != DESK_GO) {
		rc = end_unstarted(l, id, &e);
		h->fresh = true;
	} else if (h->word < word) {
		h->word = word;
		h->version = desk_version(h->version);
	}
	desk_unlock(l->desk);
	if (rc < 0)
		log_err(LOG_ERROR, &e, "host %s was not started, and cannot be ended", id);
	loop_timer_set(l->soon, 0, 0);
	desk_tell(l->desk, id);
}

static void hand_stop(struct launcher *l, const char *id, const char *why)
{
	if (is_ours(l, id))
		order(l, id, why && !strcmp(why, "peer") ? DESK_PEER : DESK_STOP);
	else
		launcher_local.stop(l->local, id, why);
}

static void hand_go(struct launcher *l, const char *id)
{
	if (is_ours(l, id))
		order(l, id, DESK_GO);
	else
		launcher_local.go(l->local, id);
}

static void hand_forget(struct launcher *l, const char *id)
{
	struct desk_host *h = find(l, id);

	if (h)
		drop(l, h);
	if (!is_ours(l, id))
		launcher_local.forget(l->local, id);
}

static void hand_remove(struct launcher *l, const char *id)
{
	_cleanup_free_ char *path = path_of(l, id);
	struct desk_host *h = find(l, id);
	struct err e = { 0 };

	if (h)
		drop(l, h);
	if (!is_ours(l, id))
		launcher_local.remove(l->local, id);
	else if (remove_tree(AT_FDCWD, path, &e) < 0)
		log_err(LOG_WARN, &e, "removing %s", path);
}

static void hand_scan(struct launcher *l, const char *image)
{
	launcher_local.scan(l->local, image);
}

const struct launcher_ops launcher_hand = {
	.name = "hand",
	.open = hand_open,
	.close = hand_close,
	.launch = hand_launch,
	.watch = hand_watch,
	.stop = hand_stop,
	.go = hand_go,
	.forget = hand_forget,
	.remove = hand_remove,
	.scan = hand_scan,
};
