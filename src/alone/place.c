/* What the supervisor needs, fetched: lists, the image, who its peers are, and its work order with all that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alone/inside.h"
#include "base/fd.h"
#include "base/log.h"
#include "loop/loop.h"
#include "oci/bundle.h"
#include "oci/image.h"

enum { SAID_MAX = 64 << 10 };

/* ---- files ---- */

static int fetch(struct alone *a, const char *path, int fd, struct err *e)
{
	const struct wire_request q = { .method = "GET", .path = path, .body_fd = -EBADF, .to_fd = fd };

	return wire_call(&a->wire, &q, NULL, e);
}

static int fetch_list(struct alone *a, const char *leaf, struct err *e)
{
	_cleanup_free_ char *path = leaf ? strf("lists/%s", leaf) : NULL;
	_cleanup_close_ int fd = -EBADF;

	if (!leaf)
		return 0;
	fd = openat(a->dir_fd, path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(e, "making %s", path) : fetch(a, path, fd, e);
}

static int fetch_lists(struct alone *a, struct err *e)
{
	for (size_t i = 0; i < a->spec.channel_count; i++)
		if (fetch_list(a, a->spec.channels[i].list, e) < 0)
			return err_in(e, "the list of channel '%s'", a->spec.channels[i].name);
	if (a->spec.additional && fetch_list(a, a->spec.additional->list, e) < 0)
		return err_in(e, "the list of the algorithm's data");
	return 0;
}

/* ---- the image ---- */

static bool is_here(const char *images, const struct job_spec *s, const char *digest)
{
	struct image found = { 0 };
	bool here = image_find(images, str_of(s->image), &found, NULL) == 0 && str_is(str_of(found.digest), digest);

	image_fini(&found);
	return here;
}

static bool first_name(void *arg, struct str reference)
{
	char **ret = arg;

	if (str_has_byte(reference, '@'))
		return false;
	*ret = str_dup(reference);
	return true;
}

/* The store wants a name with a tag; one by digest alone gets one of ours. */
static char *name_for(const char *image)
{
	char *name = NULL;

	image_reference_each(str_of(image), first_name, &name);
	return name ? name : xstrdup("bloomery/by-digest:latest");
}

static int import(struct alone *a, const char *images, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-image", a->programs), *name = name_for(a->spec.image);
	_cleanup_free_ char *like = strf("%s/image.json", a->dir), *from = strf("%s/image.tar", a->dir);
	const char *const argv[] = { program,  "--images", images, "--quiet", "--like", like,
		                     "import", "--",       name,   from,      NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .die_with_parent = true };
	_cleanup_buf_ struct buf said = { 0 };
	int status;

	if (spawn_wait(&o, &said, SAID_MAX, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(e, ERR_IO, "unpacking the image %s: " PRIstr, name, ARGstr(str_trim(buf_view(&said))));
}

static int fetch_archive(struct alone *a, const char *images, const json_t *about, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(about, JSON_COMPACT);
	_cleanup_close_ int fd = openat(a->dir_fd, "image.tar", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
	                                0600);
	int rc;

	if (fd < 0)
		return err_sys(e, "making image.tar");
	if (!text || file_put(a->dir_fd, "image.json", str_of(text), 0600, e) < 0)
		return err_in(e, "keeping what the image is");
	rc = fetch(a, "image/archive", fd, e);
	if (rc == 0)
		rc = import(a, images, e);
	if (unlinkat(a->dir_fd, "image.tar", 0) < 0)
		log_warn("removing image.tar: %s", strerror(errno));
	return rc;
}

/* bloomeryd's, unless it has none; then the supervisor finds one by itself, or pulls it. */
static int fetch_image(struct alone *a, struct err *e)
{
	_cleanup_free_ char *images = strf("%s/images", a->root);
	const struct wire_request q = { .method = "GET", .path = "image", .body_fd = -EBADF, .to_fd = -EBADF };
	const char *digest;
	json_t *about;
	int rc;

	if (wire_call(&a->wire, &q, &about, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return -1;
		log_info("%s", e->frame[0]);
		*e = (struct err){ 0 };
		return 0;
	}
	digest = json_string_value(json_object_get(about, "digest"));
	if (!digest)
		rc = err_set(e, ERR_INVALID, "bloomeryd does not say which image it is");
	else if (is_here(images, &a->spec, digest))
		rc = 0;
	else
		rc = fetch_archive(a, images, about, e);
	json_decref(about);
	return rc;
}

/* ---- the peers ---- */

static int take_peers(struct alone *a, const json_t *peers, struct err *e)
{
	struct network_spec *n = &a->spec.network;
	const json_t *peer;
	size_t i;

	network_spec_fini(n);
	n->address = xstrdup(a->address);
	n->peers = xcalloc(json_array_size(peers) + 1, sizeof(*n->peers));
	json_array_foreach (peers, i, peer) {
		const char *name = json_string_value(json_object_get(peer, "name"));
		const char *address = json_string_value(json_object_get(peer, "address"));

		if (!name || !address)
			return err_set(e, ERR_INVALID, "bloomeryd does not say where the peers are");
		n->peers[n->peer_count].name = xstrdup(name);
		n->peers[n->peer_count++].address = xstrdup(address);
	}
	return 0;
}

static int meet_peers(struct alone *a, struct err *e)
{
	json_t *peers;
	int rc;

	if (orders_peers(a->orders, &peers, e) < 0)
		return -1;
	rc = take_peers(a, peers, e);
	json_decref(peers);
	return rc;
}

/* ---- the machine ---- */

/* As bloomery-host does: what was found last time, unless the program has changed since. */
static int find_runtime(const struct alone *a, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/runtime.json", a->root), *scratch = strf("%s/probe", a->dir);
	struct runtime r = { 0 };
	int rc = runtime_load(path, &r, e);

	if (rc < 0) {
		*e = (struct err){ 0 };
		rc = mkdir_all(AT_FDCWD, scratch, 0700, e);
		if (rc == 0)
			rc = runtime_probe(scratch, &r, e);
		if (rc == 0)
			rc = runtime_save(path, &r, e);
		if (remove_tree(AT_FDCWD, scratch, NULL) < 0)
			log_warn("%s could not be removed", scratch);
	}
	runtime_fini(&r);
	return rc < 0 ? err_in(e, "finding a container runtime") : 0;
}

int place_all(struct alone *a, struct err *e)
{
	if (mkdir_all(a->dir_fd, "lists", 0700, e) < 0 || mkdir_all(a->dir_fd, "staged", 0755, e) < 0 ||
	    find_runtime(a, e) < 0 || fetch_lists(a, e) < 0 || fetch_image(a, e) < 0 || meet_peers(a, e) < 0)
		return -1;
	return spec_save(a->dir_fd, &a->spec, e);
}
