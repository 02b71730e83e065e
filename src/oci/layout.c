/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layout.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"

enum { DOCUMENT_MAX_BYTES = 8 << 20, INDEX_DEPTH_MAX = 4 };

void layout_fini(struct layout *l)
{
	for (size_t i = 0; i < l->layer_count; i++)
		close(l->layers[i].fd);
	free(l->layers);
	json_decref(l->config);
	*l = (struct layout){ 0 };
}

const char *layout_architecture(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#endif
}

static int open_regular(int dirfd, const char *path, struct stat *st, struct err *e)
{
	_cleanup_close_ int fd = open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, e);

	if (fd < 0) {
		if (e && e->os == ENOENT)
			err_set(e, ERR_INVALID, "the image archive lacks its file %.200s", path);
		else if (e && (e->os == EXDEV || e->os == ELOOP))
			err_set(e, ERR_INVALID, "the image archive names the file %.200s, which is not within it",
			        path);
		return -1;
	}
	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode))
		return err_set(e, ERR_INVALID, "%.200s in the image archive is not a file", path);
	return take_fd(fd);
}

/* A JSON document; its sha256 goes to hex, and is compared first when want is not NULL. New reference. */
static json_t *read_document(int dirfd, const char *path, const char *want, char hex[DIGEST_HEX_BYTES + 1],
                             struct err *e)
{
	_cleanup_buf_ struct buf b = { 0 }, digest = { 0 };
	_cleanup_close_ int fd = -EBADF;
	unsigned char sum[SHA256_BYTES];
	json_error_t why;
	struct stat st;
	size_t got;
	json_t *j;

	fd = open_regular(dirfd, path, &st, e);
	if (fd < 0)
		return NULL;
	if (st.st_size > DOCUMENT_MAX_BYTES) {
		err_set(e, ERR_TOO_LARGE, "%.200s in the image archive is larger than %d bytes", path,
		        DOCUMENT_MAX_BYTES);
		return NULL;
	}
	buf_need(&b, (size_t)st.st_size);
	if (fd_read_full(fd, b.p, (size_t)st.st_size, &got, e) < 0)
		return NULL;
	b.n = got;
	sha256(buf_view(&b), sum);
	buf_hex(&digest, sum, sizeof(sum));
	if (want && strcmp(want, digest.p) != 0) {
		err_set(e, ERR_INVALID, "%.200s in the image archive is damaged: its digest is sha256:%s", path,
		        digest.p);
		return NULL;
	}
	j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		err_set(e, ERR_INVALID, "%.200s in the image archive is not JSON: line %d: %s", path, why.line,
		        why.text);
	else if (hex)
		memcpy(hex, digest.p, DIGEST_HEX_BYTES + 1);
	return j;
}

static const char *text_at(const json_t *j, const char *key)
{
	const char *z = json_string_value(json_object_get(j, key));

	return z ? z : "";
}

/* The digest of a descriptor, as 64 hex digits. */
static int descriptor_hex(const json_t *descriptor, char hex[DIGEST_HEX_BYTES + 1], struct err *e)
{
	const char *digest = text_at(descriptor, "digest");

	if (!digest_valid(str_of(digest)))
		return err_set(e, ERR_INVALID,
		               "the image archive names content by '%.100s', which is not a sha256 digest", digest);
	memcpy(hex, digest + strlen("sha256:"), DIGEST_HEX_BYTES + 1);
	return 0;
}

static json_t *read_blob(int dirfd, const json_t *descriptor, char hex[DIGEST_HEX_BYTES + 1], struct err *e)
{
	_cleanup_free_ char *path = NULL;

	if (descriptor_hex(descriptor, hex, e) < 0)
		return NULL;
	path = strf("blobs/sha256/%s", hex);
	return read_document(dirfd, path, hex, NULL, e);
}

/* Entries for other machines, and those that are not images at all (signatures, build records), do not count. */
static bool for_this_machine(const json_t *descriptor)
{
	const json_t *platform = json_object_get(descriptor, "platform");

	return !platform || (!strcmp(text_at(platform, "architecture"), layout_architecture()) &&
	                     !strcmp(text_at(platform, "os"), "linux"));
}

static void list_platforms(const json_t *manifests, struct buf *out)
{
	const json_t *d;
	size_t i;

	json_array_foreach (manifests, i, d)
		buf_f(out, "%s%.20s/%.20s", i ? ", " : "", text_at(json_object_get(d, "platform"), "os"),
		      text_at(json_object_get(d, "platform"), "architecture"));
}

/* The one manifest of an index that is meant; borrowed. */
static const json_t *choose(const json_t *index, struct err *e)
{
	const json_t *manifests = json_object_get(index, "manifests"), *chosen = NULL, *d;
	_cleanup_buf_ struct buf others = { 0 };
	size_t i;

	buf_init(&others);
	if (json_array_size(manifests) == 1)
		return json_array_get(manifests, 0);
	json_array_foreach (manifests, i, d) {
		if (!for_this_machine(d))
			continue;
		if (chosen && strcmp(text_at(chosen, "digest"), text_at(d, "digest")) != 0) {
			err_set(e, ERR_INVALID, "the archive holds several images; export the one that is meant");
			return NULL;
		}
		chosen = d;
	}
	if (chosen)
		return chosen;
	list_platforms(manifests, &others);
	err_set(e, ERR_INVALID, "the archive holds no image for this machine, linux/%s (it is for: %.300s)",
	        layout_architecture(), others.n ? others.p : "nothing");
	return NULL;
}

/* Follows indexes from index.json to a manifest. New reference. */
static json_t *find_manifest(int dirfd, char hex[DIGEST_HEX_BYTES + 1], struct err *e)
{
	json_t *j = read_document(dirfd, "index.json", NULL, NULL, e);

	for (int depth = 0; j && depth < INDEX_DEPTH_MAX; depth++) {
		const json_t *d;
		json_t *next;

		if (json_is_array(json_object_get(j, "layers")))
			return j;
		d = choose(j, e);
		next = d ? read_blob(dirfd, d, hex, e) : NULL;
		json_decref(j);
		j = next;
		if (!j)
			return NULL;
	}
	if (j && json_is_array(json_object_get(j, "layers")))
		return j;
	if (j)
		err_set(e, ERR_INVALID, "the image archive's index leads to no manifest");
	json_decref(j);
	return NULL;
}

static bool strings_or_nothing(const json_t *j)
{
	const json_t *item;
	size_t i;

	if (j && !json_is_null(j) && !json_is_array(j))
		return false;
	json_array_foreach (j, i, item)
		if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
			return false;
	return true;
}

static bool string_or_nothing(const json_t *j)
{
	return !j || json_is_null(j) || (json_is_string(j) && strlen(json_string_value(j)) == json_string_length(j));
}

/* "amd64": it is shown on terminals. */
static bool word_or_nothing(const json_t *j)
{
	const char *z = json_string_value(j);

	return !j || (z && json_string_length(j) <= 32 &&
	              strspn(z, "abcdefghijklmnopqrstuvwxyz0123456789_-") == json_string_length(j));
}

static int check_config(const json_t *config, struct err *e)
{
	static const char *const lists[] = { "Entrypoint", "Cmd", "Env" }, *const texts[] = { "WorkingDir", "User" };
	const json_t *c = json_object_get(config, "config");
	const char *os = text_at(config, "os");

	if (!json_is_object(config) || (c && !json_is_object(c) && !json_is_null(c)))
		return err_set(e, ERR_INVALID, "the image's configuration is not an object");
	if (*os && strcmp(os, "linux") != 0)
		return err_set(e, ERR_INVALID, "the image is for %.50s; training containers run on linux", os);
	if (!word_or_nothing(json_object_get(config, "architecture")))
		return err_set(e, ERR_INVALID, "the architecture in the image's configuration is not the name of one");
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (!strings_or_nothing(json_object_get(c, lists[i])))
			return err_set(e, ERR_INVALID, "%s in the image's configuration is not a list of texts",
			               lists[i]);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!string_or_nothing(json_object_get(c, texts[i])))
			return err_set(e, ERR_INVALID, "%s in the image's configuration is not a text", texts[i]);
	return 0;
}

static int set_diff_ids(struct layout *l, struct err *e)
{
	const json_t *ids = json_object_get(json_object_get(l->config, "rootfs"), "diff_ids");

	if (!ids)
		return 0;
	if (json_array_size(ids) != l->layer_count)
		return err_set(e, ERR_INVALID, "the image has %zu layers, but its configuration names %zu",
		               l->layer_count, json_array_size(ids));
	for (size_t i = 0; i < l->layer_count; i++) {
		const char *id = json_string_value(json_array_get(ids, i));

		if (!id || !digest_valid(str_of(id)))
			return err_set(e, ERR_INVALID,
			               "the image's configuration names a layer by something else than a digest");
		memcpy(l->layers[i].diff_id, id + strlen("sha256:"), DIGEST_HEX_BYTES + 1);
	}
	return 0;
}

static int add_layer(struct layout *l, int dirfd, const char *path, const char *digest, struct err *e)
{
	struct layout_layer layer = { 0 };
	struct stat st;

	if (l->layer_count == LAYOUT_LAYERS_MAX)
		return err_set(e, ERR_TOO_LARGE, "the image has more than %d layers", LAYOUT_LAYERS_MAX);
	layer.fd = open_regular(dirfd, path, &st, e);
	if (layer.fd < 0)
		return err_in(e, "layer %zu", l->layer_count + 1);
	memcpy(layer.digest, digest, strlen(digest) + 1);
	l->layers = xrealloc(l->layers, (l->layer_count + 1) * sizeof(*l->layers));
	l->layers[l->layer_count++] = layer;
	l->layer_bytes += (uint64_t)st.st_size;
	return 0;
}

static int open_oci(int dirfd, struct layout *l, struct err *e)
{
	char hex[DIGEST_HEX_BYTES + 1] = "";
	json_t *manifest = find_manifest(dirfd, l->digest, e);
	const json_t *d;
	size_t i;
	int rc = 0;

	if (!manifest)
		return -1;
	if (!l->digest[0])
		rc = err_set(e, ERR_INVALID, "index.json in the image archive is a manifest, not an index");
	else
		l->config = read_blob(dirfd, json_object_get(manifest, "config"), hex, e);
	if (!l->config)
		rc = -1;
	json_array_foreach (json_object_get(manifest, "layers"), i, d) {
		_cleanup_free_ char *path = NULL;

		if (rc == 0)
			rc = descriptor_hex(d, hex, e);
		path = strf("blobs/sha256/%s", hex);
		if (rc == 0)
			rc = add_layer(l, dirfd, path, hex, e);
	}
	json_decref(manifest);
	return rc;
}

/* manifest.json: [{"Config": "<hex>.json", "RepoTags": [...], "Layers": ["<id>/layer.tar", ...]}] */
static int open_docker(int dirfd, struct layout *l, struct err *e)
{
	json_t *manifest = read_document(dirfd, "manifest.json", NULL, NULL, e);
	const json_t *image = json_array_get(manifest, 0), *path;
	size_t i;
	int rc = 0;

	if (!manifest)
		return -1;
	if (json_array_size(manifest) != 1)
		rc = err_set(e, ERR_INVALID,
		             "the archive holds %zu images; export the one that is meant (docker save IMAGE)",
		             json_array_size(manifest));
	if (rc == 0) {
		l->config = read_document(dirfd, text_at(image, "Config"), NULL, l->digest, e);
		rc = l->config ? 0 : -1;
	}
	json_array_foreach (json_object_get(image, "Layers"), i, path) {
		if (rc == 0 && !json_is_string(path))
			rc = err_set(e, ERR_INVALID,
			             "manifest.json in the archive names a layer by something else than a path");
		if (rc == 0)
			rc = add_layer(l, dirfd, json_string_value(path), "", e);
	}
	json_decref(manifest);
	return rc;
}

static bool has_file(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

enum layout_kind layout_detect(int dirfd)
{
	json_t *j;
	bool docker;

	if (has_file(dirfd, "oci-layout") && has_file(dirfd, "index.json"))
		return LAYOUT_OCI;
	if (!has_file(dirfd, "manifest.json"))
		return LAYOUT_NONE;
	j = read_document(dirfd, "manifest.json", NULL, NULL, NULL);
	docker = json_is_string(json_object_get(json_array_get(j, 0), "Config")) &&
	         json_is_array(json_object_get(json_array_get(j, 0), "Layers"));
	json_decref(j);
	return docker ? LAYOUT_DOCKER : LAYOUT_NONE;
}

int layout_open(int dirfd, enum layout_kind kind, struct layout *ret, struct err *e)
{
	struct layout l = { 0 };

	if ((kind == LAYOUT_OCI ? open_oci(dirfd, &l, e) : open_docker(dirfd, &l, e)) < 0 ||
	    check_config(l.config, e) < 0 || set_diff_ids(&l, e) < 0) {
		layout_fini(&l);
		return -1;
	}
	*ret = l;
	return 0;
}
