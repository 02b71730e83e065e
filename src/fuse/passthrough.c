/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/passthrough.h"

#include <stdlib.h>

#if defined(FUSE_CAP_PASSTHROUGH) && FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)

enum { BUCKETS = 1024 };

/* A file that is open, and the kernel's number for what is behind it: one for all who have it open. */
struct backing {
	uint32_t file;
	int id;
	unsigned opens;
	struct backing *next;
};

struct passthrough {
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct backing *buckets[BUCKETS];
		bool refused, used;
	} shared;
};

bool passthrough_built(void)
{
	return true;
}

void want_capability(struct fuse_conn_info *conn, unsigned flag, bool on)
{
	if (on)
		fuse_set_feature_flag(conn, flag);
	else
		fuse_unset_feature_flag(conn, flag);
}

struct passthrough *passthrough_new(struct fuse_conn_info *conn)
{
	struct passthrough *p;

	if (!fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH))
		return NULL;
	conn->max_backing_stack_depth = 1;
	p = xcalloc(1, sizeof(*p));
	pthread_mutex_init(&p->shared.mu, NULL);
	return p;
}

void passthrough_free(struct passthrough *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct backing *b = p->shared.buckets[i], *next; b; b = next) {
			next = b->next;
			free(b);
		}
	}
	pthread_mutex_destroy(&p->shared.mu);
	free(p);
}

static struct backing **place_locked(struct passthrough *p, uint32_t file)
{
	struct backing **at = &p->shared.buckets[file % BUCKETS];

	while (*at && (*at)->file != file)
		at = &(*at)->next;
	return at;
}

static struct backing *begin_locked(struct passthrough *p, fuse_req_t req, uint32_t file, struct files *files)
{
	struct backing *b;
	int fd, id;

	if (p->shared.refused || files_get(files, file, &fd, NULL) < 0)
		return NULL; /* reading will say why */
	id = fuse_passthrough_open(req, fd);
	files_put(files, file);
	p->shared.refused = id <= 0;
	if (id <= 0)
		return NULL;
	b = xcalloc(1, sizeof(*b));
	*b = (struct backing){ .file = file, .id = id };
	*place_locked(p, file) = b;
	p->shared.used = true;
	return b;
}

bool passthrough_open(struct passthrough *p, fuse_req_t req, uint32_t file, struct files *files,
                      struct fuse_file_info *fi)
{
	struct backing *b;

	if (!p)
		return false;
	pthread_mutex_lock(&p->shared.mu);
	b = *place_locked(p, file);
	if (!b)
		b = begin_locked(p, req, file, files);
	if (b) {
		b->opens++;
		fi->backing_id = b->id;
		fi->keep_cache = 0;
		fi->fh = 1;
	}
	pthread_mutex_unlock(&p->shared.mu);
	return b;
}

void passthrough_release(struct passthrough *p, fuse_req_t req, uint32_t file)
{
	struct backing **at, *b;

	pthread_mutex_lock(&p->shared.mu);
	at = place_locked(p, file);
	b = *at;
	must(b && b->opens);
	if (--b->opens == 0) {
		fuse_passthrough_close(req, b->id);
		*at = b->next;
		free(b);
	}
	pthread_mutex_unlock(&p->shared.mu);
}

bool passthrough_used(struct passthrough *p)
{
	bool used;

	if (!p)
		return false;
	pthread_mutex_lock(&p->shared.mu);
	used = p->shared.used;
	pthread_mutex_unlock(&p->shared.mu);
	return used;
}

#else

bool passthrough_built(void)
{
	return false;
}

void want_capability(struct fuse_conn_info *conn, unsigned flag, bool on)
{
	conn->want = on ? conn->want | (conn->capable & flag) : conn->want & ~flag;
}

struct passthrough *passthrough_new(struct fuse_conn_info *conn)
{
	(void)conn;
	return NULL;
}

void passthrough_free(struct passthrough *p)
{
	(void)p;
}

bool passthrough_open(struct passthrough *p, fuse_req_t req, uint32_t file, struct files *files,
                      struct fuse_file_info *fi)
{
	(void)p, (void)req, (void)file, (void)files, (void)fi;
	return false;
}

void passthrough_release(struct passthrough *p, fuse_req_t req, uint32_t file)
{
	(void)p, (void)req, (void)file;
}

bool passthrough_used(struct passthrough *p)
{
	(void)p;
	return false;
}

#endif
