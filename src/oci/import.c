/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/import.h"

#include <elf.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "oci/dirtar.h"
#include "oci/layer.h"
#include "oci/layout.h"
#include "oci/pull.h"
#include "oci/rootfs.h"
#include "oci/image_store.h"
#include "oci/confined.h"

enum { ENTRIES_MAX = 20000000, IMAGE_JSON_MAX_BYTES = 1 << 20 /* no program is started with more */, STALL_S = 120 };

/* One import under way. */
struct work {
	const struct import_options *o;
	const char *reference;
	int images, dir; /* the store; our directory in it, locked */
	char *name;      /* "tmp/..." */
	int rootfs;
	uint64_t max_bytes;
	char *architecture; /* NULL: to be seen from the files */
	char hex[DIGEST_HEX_BYTES + 1];
	json_t *config; /* {Entrypoint, Cmd, Env, WorkingDir, User}, all present */
	struct layer_result unpacked;
};

void import_result_fini(struct import_result *r)
{
	free(r->reference);
	free(r->digest);
	free(r->architecture);
	*r = (struct import_result){ 0 };
}

static const struct {
	enum err_kind kind;
	int status;
} exits[] = {
	{ ERR_IO, IMAGE_EXIT_FAILED },       { ERR_NOT_FOUND, IMAGE_EXIT_NOT_FOUND }, { ERR_IN_USE, IMAGE_EXIT_IN_USE },
	{ ERR_INVALID, IMAGE_EXIT_INVALID }, { ERR_TOO_LARGE, IMAGE_EXIT_INVALID },   { ERR_CLIENT, IMAGE_EXIT_PULL },
	{ ERR_SYNTAX, IMAGE_EXIT_USAGE },
};

int image_exit_status(enum err_kind kind)
{
	for (size_t i = 0; i < ARRAY_LEN(exits); i++)
		if (exits[i].kind == kind)
			return exits[i].status;
	return IMAGE_EXIT_FAILED;
}

enum err_kind image_exit_kind(int exit_status)
{
	for (size_t i = 0; i < ARRAY_LEN(exits); i++)
		if (exits[i].status == exit_status)
			return exits[i].kind;
	return ERR_IO;
}

/* --- unpacking, in confined children --- */

static void show_progress(void *arg, const struct layer_result *r)
{
	const struct work *w = arg;

	fprintf(stderr, "\r%s: unpacking, %.1f MB in %llu files\033[K", w->reference, (double)r->bytes / 1e6,
	        (unsigned long long)r->entries);
}

static struct layer_options options_of(struct work *w, bool whiteouts)
{
	return (struct layer_options){
		.whiteouts = whiteouts,
		.keep_owner = true,
		.max_bytes = w->max_bytes,
		.max_entries = ENTRIES_MAX,
		.progress = w->o->progress ? show_progress : NULL,
		.progress_arg = w,
	};
}

struct unpack_job {
	struct work *w;
	int in;
	const struct layout *layout;
};

static int unpack_archive(void *arg, void *result, struct err *e)
{
	struct unpack_job *job = arg;
	struct layer_options o = options_of(job->w, false);

	return layer_apply(job->in, job->w->rootfs, &o, result, e);
}

static int check_digest(const char *what, const char *want, const unsigned char got[SHA256_BYTES], struct err *e)
{
	_cleanup_buf_ struct buf hex = { 0 };

	buf_hex(&hex, got, SHA256_BYTES);
	if (*want && strcmp(want, hex.p) != 0)
		return err_set(e, ERR_INVALID, "it is damaged: %s is sha256:%s and should be sha256:%s", what, hex.p,
		               want);
	return 0;
}

static int unpack_layers(void *arg, void *result, struct err *e)
{
	struct unpack_job *job = arg;
	struct layer_options o = options_of(job->w, true);
	struct layer_result *r = result;

	for (size_t i = 0; i < job->layout->layer_count; i++) {
		const struct layout_layer *l = &job->layout->layers[i];

		if (layer_apply(l->fd, job->w->rootfs, &o, r, e) < 0 ||
		    check_digest("its file", l->digest, r->stream_sha256, e) < 0 ||
		    check_digest("its archive", l->diff_id, r->tar_sha256, e) < 0)
			return err_in(e, "layer %zu", i + 1);
	}
	return 0;
}

static void end_progress(const struct work *w)
{
	if (w->o->progress)
		fprintf(stderr, "\r\033[K");
}

static int run_confined(struct work *w, int (*fn)(void *arg, void *result, struct err *e), struct unpack_job *job,
                        const int *keep, size_t keep_count, struct confined *ret, struct err *e)
{
	const struct confined_options o = {
		.confine_to = w->rootfs, .keep = keep, .keep_count = keep_count, .file_bytes_max = w->max_bytes
	};

	return confined_start(&o, fn, job, sizeof(struct layer_result), ret, e);
}

static int unpack_stream(struct work *w, int in, struct err *e)
{
	const int keep[] = { in, w->rootfs };
	struct unpack_job job = { .w = w, .in = in };
	struct confined unpacker;
	int rc;

	if (run_confined(w, unpack_archive, &job, keep, ARRAY_LEN(keep), &unpacker, e) < 0)
		return -1;
	rc = confined_finish(&unpacker, &w->unpacked, e);
	end_progress(w);
	return rc;
}

struct pack_job {
	int dir, out, unused;
};

static int pack_directory(void *arg, void *result, struct err *e)
{
	struct pack_job *job = arg;

	(void)result;
	close(job->unused); /* so that a dead unpacker is noticed */
	return dirtar_write(job->dir, job->out, e);
}

/* A directory goes through the same hands as an archive: one child packs it, the other unpacks. */
static int unpack_directory(struct work *w, int dir, struct err *e)
{
	const struct confined_options open_hands = { .confine_to = -1 };
	struct confined packer, unpacker;
	struct pack_job pack = { .dir = dir };
	struct unpack_job job = { .w = w };
	struct err why = { 0 };
	int fds[2], keep[2], rc, rc2;
	char nothing[1];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	pack.unused = job.in = fds[0];
	pack.out = fds[1];
	keep[0] = fds[0];
	keep[1] = w->rootfs;
	rc = confined_start(&open_hands, pack_directory, &pack, 0, &packer, e);
	close(fds[1]);
	if (rc == 0) {
		rc = run_confined(w, unpack_archive, &job, keep, ARRAY_LEN(keep), &unpacker, e);
		if (rc < 0)
			confined_kill(&packer);
	}
	close(fds[0]);
	if (rc < 0)
		return -1;
	rc = confined_finish(&unpacker, &w->unpacked, e);
	rc2 = confined_finish(&packer, nothing, &why);
	end_progress(w);
	if (rc2 < 0 && why.os != EPIPE &&
	    strstr(why.frame[0], "Broken pipe") == NULL) { /* the cause, not what it led to */
		if (e)
			*e = why;
		return -1;
	}
	return rc;
}

static int unpack_layout(struct work *w, const struct layout *l, struct err *e)
{
	struct unpack_job job = { .w = w, .layout = l };
	int keep[LAYOUT_LAYERS_MAX + 1];
	struct confined unpacker;
	size_t n = 0;
	int rc;

	keep[n++] = w->rootfs;
	for (size_t i = 0; i < l->layer_count; i++)
		keep[n++] = l->layers[i].fd;
	if (run_confined(w, unpack_layers, &job, keep, n, &unpacker, e) < 0)
		return -1;
	rc = confined_finish(&unpacker, &w->unpacked, e);
	end_progress(w);
	return rc;
}

/* --- what is known about the image --- */

static void set_member(json_t *config, const char *key, const json_t *from, json_t *otherwise)
{
	json_t *value = json_object_get(from, key);

	if (value && !json_is_null(value))
		json_object_set(config, key, value);
	else
		json_object_set(config, key, otherwise);
	json_decref(otherwise);
}

/* The part of an OCI configuration that starts a container; from: may be NULL. */
static json_t *start_config(const json_t *from)
{
	json_t *config = json_object();

	set_member(config, "Entrypoint", from, json_array());
	set_member(config, "Cmd", from, json_array());
	set_member(config, "Env", from, json_array());
	set_member(config, "WorkingDir", from, json_string("/"));
	set_member(config, "User", from, json_string(""));
	return config;
}

static json_t *list_of(const char *const *list)
{
	json_t *array = json_array();

	for (; *list; list++)
		json_array_append_new(array, json_string(*list));
	return array;
}

/* A digest that stands for the files and for the configuration. */
static int digest_of_both(struct work *w, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(w->config, JSON_COMPACT | JSON_SORT_KEYS);
	unsigned char sum[SHA256_BYTES];
	_cleanup_buf_ struct buf b = { 0 };

	if (!text)
		return err_set(e, ERR_INVALID, "the options hold text that is not UTF-8");
	buf_f(&b, "sha256:%s\n%s\n", w->hex, text);
	sha256(buf_view(&b), sum);
	buf_reset(&b);
	buf_hex(&b, sum, sizeof(sum));
	memcpy(w->hex, b.p, sizeof(w->hex));
	return 0;
}

/* Options of the import over the image's own configuration. The digest then stands for both. */
static int apply_options(struct work *w, struct err *e)
{
	const struct import_options *o = w->o;

	if (!o->entrypoint && !o->env && !o->working_dir && !o->user)
		return 0;
	if (o->entrypoint)
		json_object_set_new(w->config, "Entrypoint", list_of(o->entrypoint));
	for (const char *const *v = o->env; v && *v; v++)
		json_array_append_new(json_object_get(w->config, "Env"), json_string(*v));
	if (o->working_dir)
		json_object_set_new(w->config, "WorkingDir", json_string(o->working_dir));
	if (o->user)
		json_object_set_new(w->config, "User", json_string(o->user));
	return digest_of_both(w, e);
}

static const char *machine_architecture(unsigned elf_machine)
{
	switch (elf_machine) {
	case EM_X86_64: return "amd64";
	case EM_AARCH64: return "arm64";
	case EM_386: return "386";
	case EM_ARM: return "arm";
	case EM_RISCV: return "riscv64";
	case EM_PPC64: return "ppc64le";
	case EM_S390: return "s390x";
	default: return "";
	}
}

/* Of /bin/sh where there is one, else of the first program that went by. */
static char *see_architecture(const struct work *w)
{
	_cleanup_close_ int fd = rootfs_open(w->rootfs, "/bin/sh", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	Elf32_Ehdr h;
	size_t got = 0;

	if (fd >= 0 && fd_read_full(fd, &h, sizeof(h), &got, NULL) == 0 && got == sizeof(h) &&
	    memcmp(h.e_ident, ELFMAG, SELFMAG) == 0)
		return xstrdup(machine_architecture(h.e_machine));
	return xstrdup(machine_architecture(w->unpacked.elf_machine));
}

static int write_image_json(struct work *w, struct err *e)
{
	char created[CLOCK_TEXT_BYTES];
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *digest = strf("sha256:%s", w->hex);
	json_t *j = json_pack("{s:i, s:s, s:s, s:I, s:s}", "v", 1, "digest", digest, "created",
	                      wall_iso8601(wall_now(), created), "size_bytes", (json_int_t)w->unpacked.bytes,
	                      "architecture", w->architecture);

	if (!j)
		return err_set(e, ERR_INVALID, "the image's architecture is not a text");
	json_object_update(j, w->config);
	text = json_dumps(j, JSON_INDENT(1));
	json_decref(j);
	if (!text || strlen(text) > IMAGE_JSON_MAX_BYTES)
		return err_set(e, ERR_TOO_LARGE, "the image's configuration is larger than %d bytes",
		               IMAGE_JSON_MAX_BYTES);
	return file_put(w->dir, "image/image.json", str_of(text), 0644, e);
}

/* --- the ways in --- */

/* Again whenever something large has been put there: an image and the archive it came in lie side by side. */
static int measure_room(struct work *w, struct err *e)
{
	struct statvfs fs;

	if (fstatvfs(w->rootfs, &fs) < 0)
		return err_sys(e, "measuring the free space");
	w->max_bytes = w->o->max_bytes ? w->o->max_bytes : (uint64_t)fs.f_bavail * fs.f_frsize / 10 * 9;
	return 0;
}

static int set_up(struct work *w, struct err *e)
{
	if (geteuid() != 0)
		return err_set(e, ERR_DENIED,
		               "images are unpacked with their owners, which needs root; run it as root or with sudo");
	w->images = image_store_open(w->o->images_dir, e);
	if (w->images < 0)
		return -1;
	w->dir = image_store_work_new(w->images, &w->name, e);
	if (w->dir < 0)
		return -1;
	if (mkdirat(w->dir, "image", 0700) < 0 || mkdirat(w->dir, "image/rootfs", 0755) < 0)
		return err_sys(e, "making the work directory");
	w->rootfs = openat(w->dir, "image/rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->rootfs < 0 || fchmod(w->rootfs, 0755) < 0)
		return err_sys(e, "opening the work directory");
	return measure_room(w, e);
}

static int from_layout(struct work *w, int dirfd, enum layout_kind kind, struct err *e)
{
	struct layout l = { 0 };
	const char *architecture;
	int rc;

	if (layout_open(dirfd, kind, &l, e) < 0)
		return -1;
	memcpy(w->hex, l.digest, sizeof(w->hex));
	w->config = start_config(json_object_get(l.config, "config"));
	architecture = json_string_value(json_object_get(l.config, "architecture"));
	w->architecture = architecture ? xstrdup(architecture) : NULL;
	rc = unpack_layout(w, &l, e);
	layout_fini(&l);
	return rc;
}

static void take_tar_digest(struct work *w)
{
	_cleanup_buf_ struct buf hex = { 0 };

	buf_hex(&hex, w->unpacked.tar_sha256, SHA256_BYTES);
	memcpy(w->hex, hex.p, sizeof(w->hex));
	w->config = start_config(NULL);
}

/* The image is another store's, and keeps its name there, the digest. */
static int take_like(struct work *w, struct err *e)
{
	struct str hex;
	json_t *j;

	if (image_like_read(w->o->like, &j, e) < 0)
		return -1;
	hex = str_of(json_string_value(json_object_get(j, "digest")));
	str_skip(&hex, STR("sha256:"));
	must(hex.n == DIGEST_HEX_BYTES);
	if (w->o->own_digest)
		take_tar_digest(w);
	else
		memcpy(w->hex, hex.p, DIGEST_HEX_BYTES + 1);
	w->architecture = xstrdup(json_string_value(json_object_get(j, "architecture")));
	json_decref(w->config);
	w->config = start_config(j);
	json_decref(j);
	return w->o->own_digest ? digest_of_both(w, e) : 0;
}

/* The archive was unpacked as if it were a root file system. If it turns out to be an image archive, that was only the
 * first step. */
static int from_unpacked(struct work *w, struct err *e)
{
	enum layout_kind kind = w->o->like ? LAYOUT_NONE : layout_detect(w->rootfs);
	_cleanup_close_ int layout = -EBADF;

	if (w->o->like)
		return take_like(w, e);
	if (kind == LAYOUT_NONE) {
		take_tar_digest(w);
		return 0;
	}
	if (renameat(w->dir, "image/rootfs", w->dir, "layout") < 0 || mkdirat(w->dir, "image/rootfs", 0755) < 0)
		return err_sys(e, "making room in the work directory");
	layout = w->rootfs;
	w->rootfs = openat(w->dir, "image/rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->rootfs < 0 || fchmod(w->rootfs, 0755) < 0)
		return err_sys(e, "opening the work directory");
	if (measure_room(w, e) < 0)
		return -1;
	w->unpacked = (struct layer_result){ 0 };
	return from_layout(w, layout, kind, e);
}

static int from_source(struct work *w, const char *source, struct err *e)
{
	bool is_stdin = !strcmp(source, "-");
	_cleanup_close_ int fd = is_stdin ? fcntl(0, F_DUPFD_CLOEXEC, 3) : open(source, O_RDONLY | O_CLOEXEC);
	enum layout_kind kind;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no file or directory %s", source);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening %s", source);
	if (!S_ISDIR(st.st_mode))
		return unpack_stream(w, fd, e) < 0 ? -1 : from_unpacked(w, e);
	kind = layout_detect(fd);
	if (kind != LAYOUT_NONE)
		return from_layout(w, fd, kind, e);
	if (unpack_directory(w, fd, e) < 0)
		return -1;
	take_tar_digest(w);
	return 0;
}

/* Everything on disk before the rename that makes it an image, unless the image is there already. */
static int publish(struct work *w, struct import_result *ret, struct err *e)
{
	_cleanup_free_ char *made = strf("%s/image", w->name);
	bool reused, synced;
	struct stat st;

	if (w->unpacked.bytes == 0)
		return err_set(e, ERR_INVALID, "it holds no files");
	if (!w->architecture)
		w->architecture = see_architecture(w);
	if (apply_options(w, e) < 0 || write_image_json(w, e) < 0)
		return -1;
	synced = !image_store_has(w->images, w->hex);
	if (fstat(w->images, &st) < 0 || fchownat(w->dir, "image", 0, st.st_gid, 0) < 0 ||
	    fchmodat(w->dir, "image", 0750, 0) < 0 || (synced && syncfs(w->dir) < 0))
		return err_sys(e, "writing the image to disk");
	if (image_store_publish(w->images, made, w->hex, w->reference, &reused, e) < 0)
		return -1;
	if (!reused && !synced && syncfs(w->images) < 0) /* it was there a moment ago, and was removed */
		return err_sys(e, "writing the image to disk");
	*ret = (struct import_result){
		.reference = xstrdup(w->reference),
		.digest = strf("sha256:%s", w->hex),
		.architecture = xstrdup(w->architecture),
		.size_bytes = w->unpacked.bytes,
		.nodes_left_out = w->unpacked.nodes_left_out,
		.reused = reused,
	};
	return 0;
}

static void tear_down(struct work *w)
{
	cleanup_closep(&w->rootfs);
	if (w->name && remove_tree(w->images, w->name, NULL) < 0)
		(void)0; /* the next import sweeps it */
	cleanup_closep(&w->dir);
	cleanup_closep(&w->images);
	free(w->name);
	free(w->architecture);
	json_decref(w->config);
}

int image_import(const struct import_options *o, struct str reference, const char *source, struct import_result *ret,
                 struct err *e)
{
	struct work w = { .o = o, .images = -EBADF, .dir = -EBADF, .rootfs = -EBADF };
	_cleanup_free_ char *canonical = NULL;
	int rc;

	if (reference_canonical(reference, &canonical, e) < 0)
		return -1;
	if (str_has_byte(str_of(canonical), '@'))
		return err_set(e, ERR_INVALID, "an import gets a name and a tag; its digest comes from its content");
	w.reference = canonical;
	rc = set_up(&w, e);
	if (rc == 0)
		rc = from_source(&w, source, e);
	if (rc == 0)
		rc = publish(&w, ret, e);
	tear_down(&w);
	return rc < 0 ? err_in(e, "importing %s from %s", canonical, source) : 0;
}

int image_pull(const struct import_options *o, struct str name, struct str as, struct import_result *ret, struct err *e)
{
	struct work w = { .o = o, .images = -EBADF, .dir = -EBADF, .rootfs = -EBADF };
	_cleanup_free_ char *canonical = NULL, *stored = NULL;
	_cleanup_close_ int layout = -EBADF;
	int rc;

	if (reference_canonical(name, &canonical, e) < 0 || reference_canonical(as.n ? as : name, &stored, e) < 0)
		return -1;
	w.reference = stored;
	if (o->progress)
		fprintf(stderr, "\r%s: pulling\033[K", canonical);
	rc = set_up(&w, e);
	if (rc == 0)
		rc = pull_layout(&(struct pull_options){ .reference = canonical,
		                                         .conf = o->conf,
		                                         .provider = o->provider,
		                                         .max_bytes = w.max_bytes,
		                                         .stall_s = o->stall_s ? o->stall_s : STALL_S },
		                 w.dir, "layout", e);
	end_progress(&w);
	if (rc == 0)
		rc = measure_room(&w, e);
	if (rc == 0) {
		layout = openat(w.dir, "layout", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = layout < 0 ? err_sys(e, "opening what was pulled") : from_layout(&w, layout, LAYOUT_OCI, e);
	}
	if (rc == 0)
		rc = publish(&w, ret, e);
	tear_down(&w);
	return rc < 0 && e && e->kind != ERR_CLIENT ? err_in(e, "pulling %s", canonical) : rc;
}

int image_ask_digest(const struct import_options *o, struct str name, char **ret, struct err *e)
{
	_cleanup_free_ char *canonical = NULL, *work = NULL;
	_cleanup_close_ int images = -EBADF, dir = -EBADF;
	struct buf digest = { 0 };
	int rc;

	if (reference_canonical(name, &canonical, e) < 0)
		return -1;
	images = image_store_open(o->images_dir, e);
	if (images < 0)
		return -1;
	dir = image_store_work_new(images, &work, e);
	if (dir < 0)
		return -1;
	rc = pull_digest(&(struct pull_options){ .reference = canonical,
	                                         .conf = o->conf,
	                                         .provider = o->provider,
	                                         .max_bytes = UINT64_MAX,
	                                         .stall_s = o->stall_s ? o->stall_s : STALL_S,
	                                         .ret_digest = &digest },
	                 dir, "asked", e);
	if (remove_tree(images, work, NULL) < 0)
		(void)0; /* the next import sweeps it */
	if (rc < 0)
		buf_fini(&digest);
	else
		*ret = buf_take(&digest);
	return rc;
}
