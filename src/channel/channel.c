/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "channel/mode.h"
#include "channel/order.h"
#include "s3/s3.h"

enum channel_way channel_way(const struct channel_spec *ch, const struct job_spec *job)
{
	if (ch->place == PLACE_FILE_SYSTEM)
		return CHANNEL_MOUNTED;
	if (strcmp(ch->input_mode, "Pipe") == 0)
		return CHANNEL_PIPED;
	if (strcmp(ch->input_mode, "FastFile") != 0)
		return CHANNEL_PLACED;
	return ch->place == PLACE_EMBEDDED && ch->objects <= job->fastfile_links_max ? CHANNEL_LINKED : CHANNEL_FUSED;
}

const struct channel_ops *channel_ops_for(enum channel_way way)
{
	switch (way) {
	case CHANNEL_PLACED:
	case CHANNEL_LINKED: return &channel_file;
	case CHANNEL_FUSED:
	case CHANNEL_MOUNTED:
	case CHANNEL_PIPED: return &channel_lazy;
	}
	return NULL;
}

int channel_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e)
{
	return s3_rel_path(prefix, key, ret_rel, ret_dir, e);
}

/* ---- the share ---- */

struct share {
	struct unit_order order;
	uint64_t units;
	bool *has; /* when shuffled; else it is a matter of the number alone */
};

struct share *share_new(const struct channel_spec *ch)
{
	struct share *s = xcalloc(1, sizeof(*s));
	uint32_t n, *v;

	s->order = unit_order_of(ch);
	s->units = ch->objects;
	if (!s->order.shuffled || s->order.share_count == 1 || ch->objects > UINT32_MAX)
		return s;
	v = xcalloc(ch->objects + 1, sizeof(*v));
	s->has = xcalloc(ch->objects + 1, sizeof(*s->has));
	n = unit_order(&s->order, 0, (uint32_t)ch->objects, v);
	for (uint32_t i = 0; i < n; i++)
		s->has[v[i]] = true;
	free(v);
	return s;
}

void share_free(struct share *s)
{
	if (!s)
		return;
	free(s->has);
	free(s);
}

bool share_has(const struct share *s, uint64_t i)
{
	if (s->has)
		return i < s->units && s->has[i];
	return i % s->order.share_count == s->order.share_number;
}

int channel_bad_key(const char *bucket, struct str key, const struct err *cause, struct err *e)
{
	_cleanup_free_ char *named = strf("the key " PRIstr " ", ARGstr(key));
	struct str why = str_of(cause->frame[0]);

	if (cause->kind != ERR_CLIENT) {
		if (e)
			*e = *cause;
		return -1;
	}
	str_skip(&why, str_of(named));
	return err_set(e, ERR_CLIENT,
	               "Data download failed:Failed to download data. S3 key: s3://%s/" PRIstr " " PRIstr, bucket,
	               ARGstr(key), ARGstr(why));
}

bool channel_collide(struct str a, bool a_dir, struct str b, bool b_dir)
{
	if (str_eq(a, b))
		return !a_dir || !b_dir;
	return (a.n < b.n && !a_dir && str_starts(b, a) && b.p[a.n] == '/') ||
	       (b.n < a.n && !b_dir && str_starts(a, b) && a.p[b.n] == '/');
}

/* ---- directory and manifest ---- */

int channel_name_check(const struct channel_spec *ch, struct err *e)
{
	struct str name = str_of(ch->name);

	if (!name.n || name.n > 64 || str_has_byte(name, '/') || str_is(name, ".") || str_is(name, ".."))
		return err_set(e, ERR_CLIENT, "'%s' cannot be the name of a channel's directory", ch->name);
	return 0;
}

static int taken(const struct channel_spec *ch, const char *what, struct err *e)
{
	return err_set(e, ERR_CLIENT,
	               "the %s of channel '%s' has the name that another channel's has; rename one of the channels",
	               what, ch->name);
}

int channel_make_dir(const struct channel_spec *ch, int parent, struct err *e)
{
	struct stat st;
	int fd;

	if (channel_name_check(ch, e) < 0)
		return -1;
	if (fstatat(parent, ch->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISDIR(st.st_mode))
			return taken(ch, "directory", e);
		if (remove_tree(parent, ch->name, e) < 0)
			return -1;
	}
	if (mkdirat(parent, ch->name, 0755) < 0)
		return err_sys(e, "making the directory");
	fd = openat(parent, ch->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "opening the directory") : fd;
}

/* The key part of S3Uri as it was given (contract 1.3): of a ManifestFile the manifest's, not the prefix in it. */
static const char *key_of(const char *s3_uri)
{
	const char *bucket = strstr(s3_uri, "://"), *slash = bucket ? strchr(bucket + 3, '/') : NULL;

	return slash ? slash + 1 : "";
}

int channel_make(const struct channel_spec *ch, const struct channel_env *env, int *ret_dirfd, int *ret_manifest,
                 struct err *e)
{
	_cleanup_free_ char *name = strf("%s-manifest", ch->name), *first = strf("%s\n", key_of(ch->s3_uri));
	_cleanup_close_ int dir = channel_make_dir(ch, env->data_dirfd, e), fd = -EBADF;

	if (dir < 0)
		return -1;
	fd = openat(env->data_dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == EISDIR ? taken(ch, "manifest", e) : err_sys(e, "creating the manifest");
	if (fd_write_all(fd, first, strlen(first), e) < 0)
		return err_in(e, "the manifest");
	*ret_dirfd = take_fd(dir);
	*ret_manifest = take_fd(fd);
	return 0;
}

void channel_remove(const struct channel_spec *ch, const struct channel_env *env)
{
	_cleanup_free_ char *manifest = strf("%s-manifest", ch->name);

	if (channel_name_check(ch, NULL) < 0)
		return;
	if (env->farm_dirfd >= 0)
		(void)!remove_tree(env->farm_dirfd, ch->name, NULL);
	(void)!remove_tree(env->data_dirfd, ch->name, NULL);
	unlinkat(env->data_dirfd, manifest, 0);
}

/* ---- the list ---- */

int channel_open_list(const struct channel_spec *ch, int job_dirfd, struct err *e)
{
	_cleanup_close_ int dir = openat(job_dirfd, "lists", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct str leaf = str_of(ch->list);
	int fd;

	if (!leaf.n || str_has_byte(leaf, '/') || str_is(leaf, "..") || str_is(leaf, "."))
		return err_set(e, ERR_BUG, "'" PRIstr "' is not the name of a list", ARGstr(leaf));
	if (dir < 0)
		return err_sys(e, "opening lists");
	fd = open_plain_shared(dir, ch->list, e);
	return fd < 0 ? err_in(e, "the list of channel '%s'", ch->name) : fd;
}
