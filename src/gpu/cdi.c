/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/cdi.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "gpu/yaml.h"

enum { FILE_MAX_BYTES = 4 << 20, DEVICES_MAX = 4096 };

/* ---- names ---- */

static bool is_word(struct str s, const char *also)
{
	for (size_t i = 0; i < s.n; i++)
		if (!isalnum((unsigned char)s.p[i]) && (!s.p[i] || !strchr(also, s.p[i])))
			return false;
	return s.n > 0 && s.n <= 128 && isalnum((unsigned char)s.p[0]);
}

static bool is_kind(struct str kind)
{
	struct str vendor = str_cut(&kind, '/');

	return is_word(vendor, "._-") && is_word(kind, "_-");
}

bool cdi_is_name(struct str name)
{
	struct str kind = str_cut(&name, '=');

	return is_kind(kind) && is_word(name, "._-:");
}

static bool is_number(const char *z)
{
	return *z && z[strspn(z, "0123456789")] == 0;
}

/* Numbers by their value, and before what is none. */
static int by_name(const void *a, const void *b)
{
	const char *x = ((const struct cdi_device *)a)->name, *y = ((const struct cdi_device *)b)->name;
	const char *nx = strchr(x, '='), *ny = strchr(y, '=');
	bool same_kind = nx && ny && nx - x == ny - y && memcmp(x, y, (size_t)(nx - x)) == 0;

	if (same_kind && is_number(nx + 1) != is_number(ny + 1))
		return is_number(nx + 1) ? -1 : 1;
	if (same_kind && is_number(nx + 1) && strlen(nx) != strlen(ny))
		return strlen(nx) < strlen(ny) ? -1 : 1;
	return strcmp(x, y);
}

const struct cdi_device *cdi_find(const struct cdi *c, struct str name)
{
	for (size_t i = 0; i < c->n; i++)
		if (str_is(name, c->device[i].name))
			return &c->device[i];
	return NULL;
}

/* ---- a file ---- */

static int check_version(const json_t *spec, struct err *e)
{
	const char *version = json_string_value(json_object_get(spec, "cdiVersion"));

	if (!version)
		return err_set(e, ERR_INVALID, "cdiVersion: missing, or not a text");
	if (!str_starts(str_of(version), STR("0.")) && !str_starts(str_of(version), STR("1.")))
		return err_set(e, ERR_INVALID, "cdiVersion: version %.32s is not known here", version);
	return 0;
}

static int check_members(const json_t *spec, struct err *e)
{
	static const char *const known[] = { "cdiVersion", "kind", "annotations", "devices", "containerEdits" };
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)spec, key, v) {
		bool is = false;

		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			is |= strcmp(key, known[i]) == 0;
		if (!is)
			return err_set(e, ERR_INVALID, "'%.64s' is not a member that is known here", key);
	}
	return 0;
}

static int check_device(const json_t *device, size_t at, struct err *e)
{
	const json_t *name = json_object_get(device, "name");
	char where[64];

	snprintf(where, sizeof(where), "devices[%zu].containerEdits", at);
	if (!json_is_string(name) || !is_word(str_of(json_string_value(name)), "._-:"))
		return err_set(e, ERR_INVALID, "devices[%zu].name: missing, or not a name (a number needs quotes)", at);
	return cdi_edits_check(json_object_get(device, "containerEdits"), where, e);
}

static int check(const json_t *spec, struct err *e)
{
	const json_t *devices = json_object_get(spec, "devices"), *common = json_object_get(spec, "containerEdits");
	const char *kind = json_string_value(json_object_get(spec, "kind"));

	if (!json_is_object(spec))
		return err_set(e, ERR_INVALID, "it is not an object");
	if (check_version(spec, e) < 0 || check_members(spec, e) < 0)
		return -1;
	if (!kind || !is_kind(str_of(kind)))
		return err_set(e, ERR_INVALID, "kind: missing, or not of the form vendor/class");
	if (!json_is_array(devices) || json_array_size(devices) > DEVICES_MAX)
		return err_set(e, ERR_INVALID, "devices: missing, or not a list of at most %d", DEVICES_MAX);
	for (size_t i = 0; i < json_array_size(devices); i++)
		if (check_device(json_array_get(devices, i), i, e) < 0)
			return -1;
	return common ? cdi_edits_check(common, "containerEdits", e) : 0;
}

static int read_spec(int dir, const char *leaf, bool roots_only, json_t **ret, struct err *e)
{
	_cleanup_close_ int fd = openat(dir, leaf, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	_cleanup_free_ char *same = strf("/proc/self/fd/%d", fd);
	_cleanup_buf_ struct buf text = { 0 };
	json_error_t why;
	struct stat st;
	json_t *j;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "it cannot be opened");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "it is not a file");
	if (roots_only && (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH))))
		return err_set(e, ERR_DENIED,
		               "others than root can write it, and what it says is done as root (chown root, chmod "
		               "go-w)");
	if (file_read(same, FILE_MAX_BYTES, &text, e) < 0)
		return -1;
	if (!str_ends(str_of(leaf), STR(".json"))) {
		j = yaml_to_json(buf_view(&text), e);
	} else {
		j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
		if (!j)
			err_set(e, ERR_SYNTAX, "line %d, column %d: %s", why.line, why.column, why.text);
	}
	if (j && check(j, e) < 0) {
		json_decref(j);
		return -1;
	}
	*ret = j;
	return j ? 0 : -1;
}

/* ---- the directories ---- */

static void complain(struct cdi *c, const char *file, const struct err *why)
{
	char text[ERR_FRAME_BYTES];

	c->complaint = xrealloc(c->complaint, (c->complaints + 1) * sizeof(*c->complaint));
	c->complaint[c->complaints++] = strf("%s describes no devices: %s", file, err_text(why, text, sizeof(text)));
}

static void device_fini(struct cdi_device *d)
{
	free(d->name);
	free(d->file);
	free(d->rival);
	json_decref(d->spec);
}

static void add_device(struct cdi *c, json_t *spec, const json_t *device, const char *file, size_t dir)
{
	struct cdi_device d = { .name = strf("%s=%s", json_string_value(json_object_get(spec, "kind")),
		                             json_string_value(json_object_get(device, "name"))),
		                .file = xstrdup(file),
		                .edits = json_object_get(device, "containerEdits"),
		                .spec = json_incref(spec),
		                .dir = dir };
	struct cdi_device *had = (struct cdi_device *)cdi_find(c, str_of(d.name));

	if (!had) {
		c->device = xrealloc(c->device, (c->n + 1) * sizeof(*c->device));
		c->device[c->n++] = d;
	} else if (had->dir < dir) {
		device_fini(had);
		*had = d;
	} else {
		free(had->rival);
		had->rival = xstrdup(file);
		device_fini(&d);
	}
}

static int is_spec(const struct dirent *d)
{
	struct str name = str_of(d->d_name);

	return name.p[0] != '.' &&
	       (str_ends(name, STR(".json")) || str_ends(name, STR(".yaml")) || str_ends(name, STR(".yml")));
}

static void load_file(struct cdi *c, int dir_fd, const char *dir, const char *leaf, size_t at, bool roots_only)
{
	_cleanup_free_ char *file = strf("%s/%s", dir, leaf);
	struct err e = { 0 };
	json_t *spec = NULL, *device;
	size_t i;

	if (read_spec(dir_fd, leaf, roots_only, &spec, &e) < 0) {
		complain(c, file, &e);
		return;
	}
	json_array_foreach (json_object_get(spec, "devices"), i, device)
		add_device(c, spec, device, file, at);
	json_decref(spec);
}

static void load_dir(struct cdi *c, const char *dir, size_t at, bool roots_only)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **leaf = NULL;
	struct err e = { 0 };
	int n;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	n = fd < 0 ? -1 : scandir(dir, &leaf, is_spec, alphasort);
	if (n < 0) {
		err_sys(&e, "it cannot be read");
		complain(c, dir, &e);
		return;
	}
	for (int i = 0; i < n; i++) {
		load_file(c, fd, dir, leaf[i]->d_name, at, roots_only);
		free(leaf[i]);
	}
	free(leaf);
}

void cdi_load(const char *dirs, bool roots_only, struct cdi *ret)
{
	struct str rest = str_trim(str_of(dirs));
	struct cdi c = { .dirs = str_dup(rest) };

	for (size_t at = 0; rest.n; at++) {
		size_t end = strcspn(rest.p, " \t");
		_cleanup_free_ char *dir = str_dup((struct str){ rest.p, end < rest.n ? end : rest.n });

		rest.p += strlen(dir);
		rest.n -= strlen(dir);
		rest = str_trim(rest);
		load_dir(&c, dir, at, roots_only);
	}
	if (c.n)
		qsort(c.device, c.n, sizeof(*c.device), by_name);
	*ret = c;
}

void cdi_fini(struct cdi *c)
{
	for (size_t i = 0; i < c->n; i++)
		device_fini(&c->device[i]);
	for (size_t i = 0; i < c->complaints; i++)
		free(c->complaint[i]);
	free(c->device);
	free(c->complaint);
	free(c->dirs);
	*c = (struct cdi){ 0 };
}

/* ---- use ---- */

static const struct cdi_device *usable(const struct cdi *c, const char *name, struct err *e)
{
	const struct cdi_device *d = cdi_find(c, str_of(name));
	_cleanup_buf_ struct buf why = { 0 };

	for (size_t i = 0; i < c->complaints; i++)
		buf_f(&why, "; %s", c->complaint[i]);
	if (!d)
		err_set(e, ERR_IO, "the device %s is not described in any file of %s%s", name, c->dirs,
		        why.p ? why.p : "");
	else if (d->rival)
		err_set(e, ERR_IO, "the device %s is described twice: by %s and by %s", name, d->file, d->rival);
	return d && !d->rival ? d : NULL;
}

int cdi_apply(const struct cdi *c, const char *const *names, size_t n, json_t *config, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct cdi_device *d = usable(c, names[i], e);
		const json_t *common = d ? json_object_get(d->spec, "containerEdits") : NULL;
		bool done = false;

		if (!d)
			return -1;
		for (size_t k = 0; k < i && !done; k++)
			done = cdi_find(c, str_of(names[k]))->spec == d->spec;
		if (common && !done && cdi_edits_apply(common, config, e) < 0)
			return err_in(e, "%s", d->file);
		if (cdi_edits_apply(d->edits, config, e) < 0)
			return err_in(e, "the device %s of %s", names[i], d->file);
	}
	return 0;
}
