/* fuzz_cdi.c - a CDI file, YAML or (first byte 'j') JSON. What is taken is complete: its devices have names, and can be
 * added to a configuration, or it is said what of the machine is missing. What is not taken is told in one sentence.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "gpu/gpu.h"
#include "gpu/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *directory(void)
{
	char *path = strf("%s/fuzz-cdi.%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());

	must(mkdir_all(AT_FDCWD, path, 0700, NULL) == 0);
	return path;
}

static void check_device(const struct cdi *c, const struct cdi_device *d)
{
	json_t *config = json_pack("{s:{s:[s]}}", "process", "env", "NVIDIA_VISIBLE_DEVICES=all");
	const char *const names[] = { d->name, d->name };
	struct err e = { 0 };
	char *text;

	must(cdi_is_name(str_of(d->name)) && cdi_find(c, str_of(d->name)) == d);
	if (cdi_apply(c, names, 2, config, &e) < 0)
		must(e.kind == ERR_IO && e.depth > 0);
	text = json_dumps(config, JSON_COMPACT);
	must(text && strstr(text, "NVIDIA_VISIBLE_DEVICES=all"));
	free(text);
	json_decref(config);
}

/* Whatever it stands for, as JSON it is the same again. */
static void check_yaml(struct str text)
{
	struct err e = { 0 };
	json_t *j = yaml_to_json(text, &e), *again;
	char *dump;

	if (!j) {
		must(e.kind == ERR_SYNTAX && e.depth > 0);
		return;
	}
	dump = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
	must(dump);
	again = json_loads(dump, JSON_DECODE_ANY, NULL);
	must(again && json_equal(j, again));
	free(dump);
	json_decref(again);
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data + 1, size - 1 };
	_cleanup_free_ char *dir = NULL, *path = NULL;
	struct cdi c = { 0 };

	if (size == 0)
		return 0;
	if (data[0] != 'j')
		check_yaml(rest);
	dir = directory();
	path = strf("%s/a.%s", dir, data[0] == 'j' ? "json" : "yaml");
	must(file_put(AT_FDCWD, path, rest, 0600, NULL) == 0);
	cdi_load(dir, false, &c);
	must(c.complaints <= 1 && (c.complaints == 0 || c.n == 0));
	for (size_t i = 0; i < c.n && i < 20; i++)
		check_device(&c, &c.device[i]);
	cdi_fini(&c);
	must(remove_tree(AT_FDCWD, dir, NULL) == 0);
	return 0;
}
