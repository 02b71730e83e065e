/* SPDX-License-Identifier: Apache-2.0 */
#include "job/gpus.h"

#include <stdlib.h>

#include "store/store.h"

struct owned {
	char host_id[JOB_ID_BYTES]; /* "": idle */
	char *name;
	bool gone; /* not in the table: nobody gets it again */
};

struct gpu_pool {
	struct gpu_table table;
	struct owned *gpu;
	size_t n;
};

static void add(struct gpu_pool *p, const char *name, bool gone)
{
	p->gpu = xrealloc(p->gpu, (p->n + 1) * sizeof(*p->gpu));
	p->gpu[p->n++] = (struct owned){ .name = xstrdup(name), .gone = gone };
}

struct gpu_pool *gpu_pool_new(const struct conf *c)
{
	struct gpu_pool *p = xcalloc(1, sizeof(*p));

	gpu_table_read(c, &p->table);
	for (size_t i = 0; i < p->table.n; i++)
		add(p, p->table.name[i], false);
	return p;
}

void gpu_pool_free(struct gpu_pool *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		free(p->gpu[i].name);
	free(p->gpu);
	gpu_table_fini(&p->table);
	free(p);
}

const struct gpu_table *gpu_pool_table(const struct gpu_pool *p)
{
	return &p->table;
}

static bool is_idle(const struct owned *g)
{
	return !g->gone && !*g->host_id;
}

static bool is_of(const struct owned *g, const char *host_id)
{
	return strcmp(g->host_id, host_id) == 0;
}

static void set_owner(struct owned *g, const char *host_id)
{
	must(strlen(host_id) == JOB_ID_BYTES - 1);
	memcpy(g->host_id, host_id, JOB_ID_BYTES);
}

unsigned gpu_pool_idle(const struct gpu_pool *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += is_idle(&p->gpu[i]);
	return n;
}

void gpu_pool_take(struct gpu_pool *p, const char *host_id, unsigned n)
{
	for (size_t i = 0; i < p->n && n; i++)
		if (is_idle(&p->gpu[i])) {
			set_owner(&p->gpu[i], host_id);
			n--;
		}
	must(n == 0);
}

void gpu_pool_give(struct gpu_pool *p, const char *host_id)
{
	for (size_t i = 0; i < p->n; i++)
		if (is_of(&p->gpu[i], host_id))
			*p->gpu[i].host_id = 0;
}

void gpu_pool_known(struct gpu_pool *p, const char *host_id, char *const *names, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		size_t i = 0;

		while (i < p->n && strcmp(p->gpu[i].name, names[k]) != 0)
			i++;
		if (i == p->n)
			add(p, names[k], true);
		if (!*p->gpu[i].host_id)
			set_owner(&p->gpu[i], host_id);
	}
}

char **gpu_pool_names(const struct gpu_pool *p, const char *host_id, size_t *ret_n)
{
	char **names = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		if (is_of(&p->gpu[i], host_id)) {
			names = xrealloc(names, (n + 2) * sizeof(*names));
			names[n++] = xstrdup(p->gpu[i].name);
			names[n] = NULL;
		}
	*ret_n = n;
	return names;
}
