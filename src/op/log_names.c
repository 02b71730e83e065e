/* The logs of the hosts of jobs, and what they are called as streams (contract 6.1). SPDX-License-Identifier:
 * Apache-2.0
 */
#include <dirent.h>
#include <stdlib.h>

#include "op/logs.h"

#define DATA_LOG STR("data-log")

bool log_group_of_jobs(struct str name, enum job_kind *ret)
{
	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++)
		if (str_is(name, job_kind_info[kind].group)) {
			*ret = kind;
			return true;
		}
	return false;
}

char *log_path(const struct api_call *call, const struct store_place *host, struct str leaf)
{
	return strf("%s/jobs/%s/log/" PRIstr, call->api->data_dir, host->id, ARGstr(leaf));
}

static char *own_leaf(const struct store_place *host)
{
	return strf("algo-%u", host->host);
}

/* INSTANCE-EPOCH */
static char *instance_of(const struct store_place *host)
{
	return strf("i-0%s-%lld", host->id, (long long)(host->created.ms / 1000));
}

char *log_stream_name(const struct store_place *host, struct str leaf)
{
	_cleanup_free_ char *own = own_leaf(host), *instance = instance_of(host);

	if (host->kind == KIND_TRAINING)
		return strf(PRIstr "/%s-%lld", ARGstr(host->name), own, (long long)(host->created.ms / 1000));
	if (str_is(leaf, own))
		return strf(PRIstr "/%s", ARGstr(host->name), instance);
	if (str_eq(leaf, DATA_LOG))
		return strf(PRIstr "/%s/" PRIstr, ARGstr(host->name), instance, ARGstr(leaf));
	return strf(PRIstr "/" PRIstr "/%s", ARGstr(host->name), ARGstr(leaf), instance);
}

struct leaves {
	char **list;
	size_t count;
};

static void add_leaf(struct leaves *l, struct str leaf)
{
	for (size_t i = 0; i < l->count; i++)
		if (str_is(leaf, l->list[i]))
			return;
	l->list = xrealloc(l->list, (l->count + 1) * sizeof(*l->list));
	l->list[l->count++] = str_dup(leaf);
}

/* A log of many segments, of which the first may be gone, is one leaf (joblog/series.h). */
static void find_leaves(const struct api_call *call, const struct store_place *host, struct leaves *l)
{
	_cleanup_free_ char *path = log_path(call, host, STR(""));
	DIR *d = opendir(path);
	struct dirent *one;

	while (d && (one = readdir(d))) {
		struct str rest = str_of(one->d_name), leaf = str_cut(&rest, '.');

		if (leaf.n)
			add_leaf(l, leaf);
	}
	if (d)
		closedir(d);
}

void log_each_leaf(const struct api_call *call, const struct store_place *host,
                   void (*fn)(const struct store_place *host, struct str leaf, void *arg), void *arg)
{
	struct leaves l = { 0 };

	if (host->kind == KIND_TRAINING) {
		_cleanup_free_ char *own = own_leaf(host);

		fn(host, str_of(own), arg);
		return;
	}
	find_leaves(call, host, &l);
	for (size_t i = 0; i < l.count; i++) {
		fn(host, str_of(l.list[i]), arg);
		free(l.list[i]);
	}
	free(l.list);
}

/* ---- from a stream's name ---- */

struct wanted {
	const struct api_call *call;
	struct str stream, leaf; /* leaf empty: the host's own */
	char *path;              /* when it is found */
};

static void look_at_host(const struct store_place *host, void *arg)
{
	struct wanted *w = arg;
	_cleanup_free_ char *own = own_leaf(host), *name = NULL;
	struct str leaf = w->leaf.n ? w->leaf : str_of(own);

	name = log_stream_name(host, leaf);
	if (!w->path && str_is(w->stream, name))
		w->path = log_path(w->call, host, leaf);
}

/* What log it would be by the pieces of its name behind the job's. False: none. */
static bool leaf_of(enum job_kind kind, struct str rest, struct str *ret)
{
	struct str first = str_cut(&rest, '/'), second = rest;

	*ret = (struct str){ 0 };
	if (kind == KIND_TRAINING || !second.n)
		return first.n > 0 && !second.n;
	*ret = str_eq(second, DATA_LOG) ? second : first;
	/* Names of containers are made of these. */
	for (size_t i = 0; i < ret->n; i++) {
		char c = ret->p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return ret->n > 0;
}

int log_path_of_stream(const struct api_call *call, enum job_kind kind, struct str stream, char **ret, struct err *e)
{
	struct str rest = stream, job = str_cut(&rest, '/');
	struct wanted w = { .call = call, .stream = stream };

	if (leaf_of(kind, rest, &w.leaf) && store_job_each_host(call->api->store, kind, job, look_at_host, &w, e) < 0)
		return err_in(e, "the log of %s " PRIstr, job_kind_info[kind].words, ARGstr(job));
	if (!w.path)
		return err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	*ret = w.path;
	return 0;
}
