/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/reference.h"
#include "oci/image_store.h"

enum { IMAGE_JSON_MAX_BYTES = 4 << 20 };

static void free_list(char **list)
{
	for (char **at = list; at && *at; at++)
		free(*at);
	free(list);
}

void image_fini(struct image *i)
{
	free(i->reference);
	free(i->digest);
	free(i->rootfs);
	free_list(i->entrypoint);
	free_list(i->cmd);
	free_list(i->env);
	free(i->working_dir);
	free(i->user);
	free(i->architecture);
	*i = (struct image){ 0 };
}

/* NULL-terminated copy of an array of strings; members that are not strings were refused by the writer. */
static char **list_from_json(const json_t *array)
{
	char **list = xcalloc(json_array_size(array) + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(array); i++)
		if (json_string_value(json_array_get(array, i)))
			list[n++] = xstrdup(json_string_value(json_array_get(array, i)));
	return list;
}

static char *text_from_json(const json_t *j, const char *key, const char *otherwise)
{
	const char *z = json_string_value(json_object_get(j, key));

	return xstrdup(z && *z ? z : otherwise);
}

static json_t *read_image_json(int dirfd, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf b = { 0 };
	json_error_t why;
	json_t *j;

	if (file_read_at(dirfd, path, IMAGE_JSON_MAX_BYTES, &b, e) < 0)
		return NULL;
	j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(j)) {
		err_set(e, ERR_IO, "%s is damaged: line %d: %s; remove the image and import it again", path, why.line,
		        why.text);
		json_decref(j);
		return NULL;
	}
	return j;
}

/* The 64 hex digits that refs/LEAF points to; false when there is no such name or it points anywhere else. */
static bool read_ref(int images, const char *leaf, char hex[DIGEST_HEX_BYTES + 1])
{
	_cleanup_free_ char *path = strf("refs/%s", leaf);
	char target[128];
	ssize_t n = readlinkat(images, path, target, sizeof(target));
	struct str s = { target, n > 0 ? (size_t)n : 0 };
	_cleanup_free_ char *digest = NULL;

	if (!str_skip(&s, STR("../sha256-")) || s.n != DIGEST_HEX_BYTES)
		return false;
	digest = strf("sha256:" PRIstr, ARGstr(s));
	if (!digest_valid(str_of(digest)))
		return false;
	memcpy(hex, s.p, DIGEST_HEX_BYTES);
	hex[DIGEST_HEX_BYTES] = 0;
	return true;
}

static int load(int images, const char *images_dir, const char *hex, const char *reference, struct image *ret,
                struct err *e)
{
	_cleanup_free_ char *path = strf("sha256-%s/image.json", hex);
	json_t *j = read_image_json(images, path, e);
	char real[PATH_MAX];

	if (!j)
		return -1;
	if (!realpath(images_dir, real)) {
		json_decref(j);
		return err_sys(e, "%s", images_dir);
	}
	*ret = (struct image){
		.reference = xstrdup(reference),
		.digest = strf("sha256:%s", hex),
		.rootfs = strf("%s/sha256-%s/rootfs", real, hex),
		.entrypoint = list_from_json(json_object_get(j, "Entrypoint")),
		.cmd = list_from_json(json_object_get(j, "Cmd")),
		.env = list_from_json(json_object_get(j, "Env")),
		.working_dir = text_from_json(j, "WorkingDir", "/"),
		.user = text_from_json(j, "User", ""),
		.architecture = text_from_json(j, "architecture", ""),
		.size_bytes = (uint64_t)json_integer_value(json_object_get(j, "size_bytes")),
	};
	json_decref(j);
	return 0;
}

struct search {
	int images;
	char hex[DIGEST_HEX_BYTES + 1];
	char *reference; /* what was found */
};

static bool try_name(void *arg, struct str reference)
{
	struct search *s = arg;
	_cleanup_free_ char *leaf = reference_leaf(reference);

	if (!read_ref(s->images, leaf, s->hex))
		return false;
	s->reference = str_dup(reference);
	return true;
}

/* Calls fn with the canonical name and digest of every name there is, until it returns false. */
static void each_ref(int images, bool (*fn)(void *arg, const char *reference, const char *hex), void *arg)
{
	int fd = openat(images, "refs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	bool more = true;

	if (!d && fd >= 0)
		close(fd);
	while (d && more && (ent = readdir(d))) {
		_cleanup_buf_ struct buf name = { 0 };
		char hex[DIGEST_HEX_BYTES + 1];

		buf_init(&name);
		if (ent->d_name[0] == '.' || !buf_uri_decode(&name, str_of(ent->d_name), false))
			continue;
		if (read_ref(images, ent->d_name, hex))
			more = fn(arg, name.p, hex);
	}
	if (d)
		closedir(d);
}

struct alias {
	struct search *search;
	struct str canonical; /* without a host */
	bool ambiguous;
};

static bool try_alias(void *arg, const char *reference, const char *hex)
{
	struct alias *a = arg;
	struct reference r;
	_cleanup_free_ char *bare = NULL;

	if (reference_parse(str_of(reference), &r, NULL) < 0 || !reference_host_is_ecr(r.host))
		return true;
	r.host = (struct str){ 0 };
	bare = reference_text(&r);
	if (!str_is(a->canonical, bare))
		return true;
	if (a->search->reference && strcmp(a->search->hex, hex) != 0) {
		a->ambiguous = true;
		return false;
	}
	free(a->search->reference);
	a->search->reference = xstrdup(reference);
	memcpy(a->search->hex, hex, sizeof(a->search->hex));
	return true;
}

/* "my-algo" also finds "<account>.dkr.ecr.<region>.amazonaws.com/my-algo" when there is just one such image. */
static bool find_alias(struct search *s, const struct reference *r)
{
	_cleanup_free_ char *canonical = reference_text(r);
	struct alias a = { .search = s, .canonical = str_of(canonical) };

	if (r->host.n)
		return false;
	each_ref(s->images, try_alias, &a);
	if (!a.ambiguous)
		return s->reference != NULL;
	free(s->reference);
	s->reference = NULL;
	return false;
}

static bool find_digest(struct search *s, const struct reference *r)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (!r->digest.n)
		return false;
	path = strf("sha256-" PRIstr, ARGstr(r->digest)); /* it gets this name when it is complete */
	if (fstatat(s->images, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return false;
	memcpy(s->hex, r->digest.p, DIGEST_HEX_BYTES);
	s->hex[DIGEST_HEX_BYTES] = 0;
	s->reference = reference_text(r);
	return true;
}

/* The digest and the name; images may be -1: there are none. */
static int search(struct search *s, struct str training_image, struct err *e)
{
	struct reference r;

	if (reference_parse(training_image, &r, e) < 0) {
		if (e)
			e->kind = ERR_NOT_FOUND;
		return -1;
	}
	if (s->images >= 0 &&
	    (image_reference_each(training_image, try_name, s) || find_digest(s, &r) || find_alias(s, &r)))
		return 0;
	return err_set(e, ERR_NOT_FOUND,
	               "there is no local image '" PRIstr "'; `bloomery image list` shows those there are",
	               ARGstr(training_image));
}

int image_find(const char *images_dir, struct str training_image, struct image *ret, struct err *e)
{
	struct err why = { 0 };
	_cleanup_close_ int images = image_dir_open(images_dir, &why);
	struct search s = { .images = images };
	int rc;

	if (images < 0 && why.kind != ERR_NOT_FOUND) {
		if (e)
			*e = why;
		return -1;
	}
	if (search(&s, training_image, e) < 0)
		return -1;
	rc = load(images, images_dir, s.hex, s.reference, ret, e);
	free(s.reference);
	return rc;
}

int image_digest(const char *images_dir, struct str training_image, char **ret, struct err *e)
{
	_cleanup_close_ int images = open(images_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct search s = { .images = images };

	if (images < 0 && errno != ENOENT)
		return err_sys(e, "opening the image store %s", images_dir);
	if (search(&s, training_image, e) < 0)
		return -1;
	free(s.reference);
	*ret = strf("sha256:%s", s.hex);
	return 0;
}

int image_pinned(struct str training_image, struct str digest, char **ret, struct err *e)
{
	_cleanup_free_ char *low = str_dup(digest);
	struct reference r;

	for (char *p = low; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	if (reference_parse(training_image, &r, e) < 0)
		return -1;
	if (!digest_valid(str_of(low)))
		return err_set(e, ERR_INVALID, "'" PRIstr "' is no digest of an image", ARGstr(digest));
	r.tag = (struct str){ 0 };
	r.digest = (struct str){ low + 7, DIGEST_HEX_BYTES };
	*ret = reference_text(&r);
	return 0;
}

int image_hold(const struct image *i, struct err *e)
{
	struct str dir = str_of(i->rootfs);
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct stat held, there;

	str_cut_last(&dir, '/');
	path = strf(PRIstr "/image.json", ARGstr(dir));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "the image %s has just been removed", i->reference);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	while (flock(fd, LOCK_SH) < 0)
		if (errno != EINTR)
			return err_sys(e, "holding %s", path);
	if (fstat(fd, &held) < 0 || stat(path, &there) < 0 || held.st_ino != there.st_ino)
		return err_set(e, ERR_NOT_FOUND, "the image %s has just been removed", i->reference);
	return take_fd(fd);
}

struct listing {
	int images;
	json_t *array;
};

static bool add_to_list(void *arg, const char *reference, const char *hex)
{
	struct listing *l = arg;
	_cleanup_free_ char *path = strf("sha256-%s/image.json", hex);
	_cleanup_free_ char *digest = strf("sha256:%s", hex);
	json_t *j = read_image_json(l->images, path, NULL), *row;

	row = json_pack("{s:s, s:s, s:I, s:s, s:s}", "reference", reference, "digest", digest, "size_bytes",
	                json_integer_value(json_object_get(j, "size_bytes")), "created",
	                j && json_string_value(json_object_get(j, "created"))
	                        ? json_string_value(json_object_get(j, "created"))
	                        : "",
	                "architecture",
	                j && json_string_value(json_object_get(j, "architecture"))
	                        ? json_string_value(json_object_get(j, "architecture"))
	                        : "");
	json_array_append_new(l->array, row);
	json_decref(j);
	return true;
}

static const char *row_name(const json_t *row)
{
	const char *z = json_string_value(json_object_get(row, "reference"));

	return z ? z : "";
}

static int by_reference(const void *a, const void *b)
{
	return strcmp(row_name(*(json_t *const *)a), row_name(*(json_t *const *)b));
}

int image_list(const char *images_dir, json_t **ret, struct err *e)
{
	_cleanup_close_ int images = open(images_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing l = { .images = images, .array = json_array() };
	_cleanup_free_ json_t **rows = NULL;
	json_t *sorted;
	size_t n;

	if (images < 0 && errno != ENOENT) {
		json_decref(l.array);
		return err_sys(e, "opening the image store %s", images_dir);
	}
	if (images >= 0)
		each_ref(images, add_to_list, &l);
	n = json_array_size(l.array);
	rows = xcalloc(n + 1, sizeof(json_t *));
	for (size_t i = 0; i < n; i++)
		rows[i] = json_array_get(l.array, i);
	qsort(rows, n, sizeof(json_t *), by_reference);
	sorted = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append(sorted, rows[i]);
	json_decref(l.array);
	*ret = sorted;
	return 0;
}

struct holders {
	const char *hex, *except;
	bool found;
};

static bool is_holder(void *arg, const char *reference, const char *hex)
{
	struct holders *h = arg;

	h->found = strcmp(hex, h->hex) == 0 && (!h->except || strcmp(reference, h->except) != 0);
	return !h->found;
}

bool image_store_digest_named(int images, const char *hex, const char *except)
{
	struct holders h = { .hex = hex, .except = except };

	each_ref(images, is_holder, &h);
	return h.found;
}

bool image_store_ref_read(int images, const char *reference, char hex[DIGEST_HEX_BYTES + 1])
{
	_cleanup_free_ char *leaf = reference_leaf(str_of(reference));

	return read_ref(images, leaf, hex);
}
