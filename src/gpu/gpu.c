/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/gpu.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

#define NVIDIA_KIND "nvidia.com/gpu="
#define DRIVER_DIR "/proc/driver/nvidia/gpus"

bool gpu_name_ok(struct str name)
{
	if (name.n == 0 || name.n >= GPU_NAME_BYTES)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && (!name.p[i] || !strchr("._-:/=", name.p[i])))
			return false;
	return true;
}

/* ---- the table ---- */

static void add_name(struct gpu_table *t, struct str name)
{
	t->name = xrealloc(t->name, (t->n + 1) * sizeof(*t->name));
	t->name[t->n++] = str_dup(name);
}

static void add_note(struct gpu_table *t, char *sentence)
{
	t->note = xrealloc(t->note, (t->notes + 1) * sizeof(*t->note));
	t->note[t->notes++] = sentence;
}

void gpu_table_fini(struct gpu_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->name[i]);
	for (size_t i = 0; i < t->notes; i++)
		free(t->note[i]);
	free(t->name);
	free(t->note);
	*t = (struct gpu_table){ 0 };
}

static bool has_name(const struct gpu_table *t, struct str name)
{
	for (size_t i = 0; i < t->n; i++)
		if (str_is(name, t->name[i]))
			return true;
	return false;
}

/* Another name, in the table already, for the same nodes. */
static const char *other_name(const struct gpu_table *t, const struct cdi *cdi, const struct cdi_device *d)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct cdi_device *had = cdi_find(cdi, str_of(t->name[i]));

		if (had && json_array_size(json_object_get(d->edits, "deviceNodes")) &&
		    json_equal((json_t *)had->edits, (json_t *)d->edits))
			return had->name;
	}
	return NULL;
}

static void add_of_cdi(struct gpu_table *t, const struct cdi *cdi)
{
	size_t of_kind = 0;

	for (size_t i = 0; i < cdi->n; i++)
		of_kind += str_starts(str_of(cdi->device[i].name), STR(NVIDIA_KIND));
	for (size_t i = 0; i < cdi->n; i++) {
		const struct cdi_device *d = &cdi->device[i];

		if (!str_starts(str_of(d->name), STR(NVIDIA_KIND)) || other_name(t, cdi, d))
			continue;
		if (of_kind > 1 && strcmp(d->name, NVIDIA_KIND "all") == 0)
			continue;
		add_name(t, str_of(d->name));
	}
}

/* The line "GPU UUID: \t GPU-..." of a GPU's `information`. */
static bool find_uuid(struct str text, struct str *ret)
{
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		if (!str_skip(&line, STR("GPU UUID:")))
			continue;
		*ret = str_trim(line);
		return gpu_name_ok(*ret) && str_starts(*ret, STR("GPU-"));
	}
	return false;
}

static int is_entry(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

void gpu_table_add_driver(struct gpu_table *t, const char *proc_dir)
{
	struct dirent **entry = NULL;
	int n = scandir(proc_dir, &entry, is_entry, alphasort);

	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = strf("%s/%s/information", proc_dir, entry[i]->d_name);
		_cleanup_buf_ struct buf text = { 0 };
		struct err e = { 0 };
		struct str uuid;

		if (file_read(path, 1 << 16, &text, &e) == 0 && find_uuid(buf_view(&text), &uuid))
			add_name(t, uuid);
		else
			add_note(t, strf("the GPU of %s is not used: its UUID cannot be read", path));
		free(entry[i]);
	}
	free(entry);
}

static void add_named(struct gpu_table *t, const struct cdi *cdi, struct str name)
{
	_cleanup_free_ char *z = str_dup(name);
	const struct cdi_device *d = cdi_find(cdi, name);
	const char *other = d ? other_name(t, cdi, d) : NULL;

	if (!gpu_name_ok(name))
		add_note(t, strf("gpus: '%s' is not the name of a GPU", z));
	else if (cdi_is_name(name) && !d)
		add_note(t, strf("gpus: %s is not used: no file of %s describes it", z, cdi->dirs));
	else if (has_name(t, name))
		return;
	else if (other)
		add_note(t, strf("gpus: %s is not used: it is another name of %s", z, other));
	else
		add_name(t, name);
}

void gpu_table_read(const struct conf *c, struct gpu_table *ret)
{
	struct str rest = str_trim(str_of(c->gpus));
	struct gpu_table t = { 0 };
	struct cdi cdi;

	if (str_is(rest, "none") || rest.n == 0) {
		*ret = t;
		return;
	}
	cdi_load(c->cdi_dirs, false, &cdi);
	for (size_t i = 0; i < cdi.complaints; i++)
		add_note(&t, xstrdup(cdi.complaint[i]));
	if (str_is(rest, "auto")) {
		_cleanup_free_ char *hook = gpu_find_hook();

		add_of_cdi(&t, &cdi);
		if (!t.n && hook)
			gpu_table_add_driver(&t, DRIVER_DIR);
	} else {
		while (rest.n) {
			size_t end = 0;

			while (end < rest.n && rest.p[end] != ' ' && rest.p[end] != '\t')
				end++;
			add_named(&t, &cdi, (struct str){ rest.p, end });
			rest = str_trim((struct str){ rest.p + end, rest.n - end });
		}
	}
	cdi_fini(&cdi);
	*ret = t;
}

/* ---- a container's ---- */

char *gpu_find_hook(void)
{
	static const char *const names[] = { "nvidia-container-runtime-hook", "nvidia-container-toolkit" };
	const char *path = getenv("PATH");
	_cleanup_free_ char *all = strf("%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	                                path ? path : "");

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct str rest = str_of(all);

		while (rest.n) {
			struct str dir = str_cut(&rest, ':');
			_cleanup_free_ char *file = strf(PRIstr "/%s", ARGstr(dir), names[i]);

			if (dir.n && dir.p[0] == '/' && access(file, X_OK) == 0)
				return take_ptr(file);
		}
	}
	return NULL;
}

bool gpu_is_for_hook(const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!cdi_is_name(str_of(names[i])))
			return true;
	return false;
}

char *gpu_visible(const char *const *names, size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (n == 0)
		return xstrdup("void");
	for (size_t i = 0; i < n; i++)
		if (!cdi_is_name(str_of(names[i])))
			buf_f(&b, "%s%s", b.n ? "," : "", names[i]);
	return b.n ? buf_take(&b) : xstrdup("all");
}

/* Before the container's own programs, in the machine's mounts: as docker has it done for --gpus. */
static int add_hook(json_t *config, struct err *e)
{
	_cleanup_free_ char *hook = gpu_find_hook();
	json_t *hooks = json_object_get(config, "hooks"), *list;
	const char *path = getenv("PATH");
	_cleanup_free_ char *assignment = strf("PATH=%s", path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");

	if (!hook)
		return err_set(e, ERR_IO,
		               "nvidia-container-runtime-hook, which gives containers their GPUs, is not installed any "
		               "more");
	if (!hooks) {
		hooks = json_object();
		json_object_set_new(config, "hooks", hooks);
	}
	list = json_object_get(hooks, "prestart");
	if (!list) {
		list = json_array();
		json_object_set_new(hooks, "prestart", list);
	}
	json_array_append_new(
	        list, json_pack("{s:s, s:[ss], s:[s]}", "path", hook, "args", hook, "prestart", "env", assignment));
	return 0;
}

int gpu_apply(const struct cdi *cdi, const char *const *names, size_t n, json_t *config, struct err *e)
{
	_cleanup_free_ const char **of_cdi = xcalloc(n + 1, sizeof(*of_cdi));
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		if (cdi_is_name(str_of(names[i])))
			of_cdi[count++] = names[i];
	if (cdi_apply(cdi, of_cdi, count, config, e) < 0)
		return -1;
	return count < n ? add_hook(config, e) : 0;
}
