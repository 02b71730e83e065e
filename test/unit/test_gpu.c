/* GPUs: CDI files, the table of a machine, and what they make of a container's configuration.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "gpu/gpu.h"
#include "gpu/yaml.h"
#include "harness.h"

/* As nvidia-ctk writes it, shortened; GPU 1 is /dev/full, and both have a second name. */
static const char nvidia[] =
        "---\n"
        "cdiVersion: 0.5.0\n"
        "kind: nvidia.com/gpu\n"
        "containerEdits:\n"
        "  deviceNodes:\n"
        "  - path: /dev/nvidiactl\n"
        "    hostPath: /dev/zero\n"
        "  env:\n"
        "  - NVIDIA_VISIBLE_DEVICES=void\n"
        "  - LIBS=/usr/lib\n"
        "  hooks:\n"
        "  - args: [nvidia-ctk, hook, update-ldcache]\n"
        "    hookName: createContainer\n"
        "    path: /usr/bin/nvidia-ctk\n"
        "  mounts:\n"
        "  - containerPath: /usr/bin/nvidia-smi\n"
        "    hostPath: /usr/bin/nvidia-smi\n"
        "    options: [ro, nosuid, nodev, bind]\n"
        "devices:\n"
        "- name: \"10\"\n"
        "  containerEdits: {deviceNodes: [{path: /dev/nvidia10, hostPath: /dev/random}]}\n"
        "- name: \"0\"\n"
        "  containerEdits:\n"
        "    deviceNodes:\n"
        "    - path: /dev/nvidia0\n"
        "      type: c\n"
        "      major: 195\n"
        "      minor: 0\n"
        "      fileMode: 438\n"
        "- name: \"1\"\n"
        "  containerEdits: {deviceNodes: [{path: /dev/nvidia1, hostPath: /dev/full, permissions: rw}], env: [MINE=1]}\n"
        "- name: GPU-aaaa\n"
        "  containerEdits: {deviceNodes: [{path: /dev/nvidia0, type: c, major: 195, minor: 0, fileMode: 438}]}\n"
        "- name: all\n"
        "  containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1, hostPath: /dev/full}]}\n";

static char *put(const char *leaf, const char *text)
{
	char *path = strf("%s/%s", test_tmpdir(), leaf);

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0644, e));
	CHECK(chmod(path, 0644) == 0);
	return path;
}

static void set_conf(struct conf *c, const char *gpus)
{
	conf_init(c);
	free(c->gpus);
	free(c->cdi_dirs);
	c->gpus = xstrdup(gpus);
	c->cdi_dirs = xstrdup(test_tmpdir());
}

static void check_table(const char *gpus, const char *names, const char *notes)
{
	_cleanup_buf_ struct buf n = { 0 }, s = { 0 };
	struct gpu_table t;
	struct conf c;

	buf_init(&n);
	buf_init(&s);
	set_conf(&c, gpus);
	gpu_table_read(&c, &t);
	for (size_t i = 0; i < t.n; i++)
		buf_f(&n, "%s ", t.name[i]);
	for (size_t i = 0; i < t.notes; i++)
		buf_f(&s, "%s\n", t.note[i]);
	CHECK_STR(n.p, names);
	if (notes)
		CHECK_STR(s.p, notes);
	gpu_table_fini(&t);
	conf_fini(&c);
}

TEST(the_gpus_of_a_machine_count_once_each)
{
	_cleanup_free_ char *path = put("nvidia.yaml", nvidia), *says = NULL;

	check_table("auto", "nvidia.com/gpu=0 nvidia.com/gpu=1 nvidia.com/gpu=10 ", "");
	check_table("none", "", "");
	check_table("", "", "");
	says = strf("gpus: nvidia.com/gpu=0 is not used: it is another name of nvidia.com/gpu=GPU-aaaa\n"
	            "gpus: nvidia.com/gpu=7 is not used: no file of %s describes it\n"
	            "gpus: 'a,b' is not the name of a GPU\n",
	            test_tmpdir());
	check_table("nvidia.com/gpu=GPU-aaaa\tnvidia.com/gpu=0 nvidia.com/gpu=7  a,b nvidia.com/gpu=1 nvidia.com/gpu=1",
	            "nvidia.com/gpu=GPU-aaaa nvidia.com/gpu=1 ", says);
	check_table("0 GPU-123 ", "0 GPU-123 ", ""); /* for the hook: taken as they are */
	CHECK(unlink(path) == 0);
	check_table("auto", "", NULL);
}

TEST(gpus_of_the_driver_are_known_by_uuid)
{
	_cleanup_free_ char *dir = strf("%s/proc", test_tmpdir()), *a = strf("%s/0000:01:00.0", dir),
	                    *b = strf("%s/0000:02:00.0", dir), *in_a = NULL;
	struct gpu_table t = { 0 };

	CHECK_OK(mkdir_all(AT_FDCWD, a, 0755, e));
	CHECK_OK(mkdir_all(AT_FDCWD, b, 0755, e));
	in_a = strf("%s/information", a);
	CHECK_OK(file_put(AT_FDCWD, in_a,
	                  STR("Model: \t\t Some GPU\nIRQ:   \t\t 120\nGPU UUID: \t GPU-12ab-34\nBus: 1\n"), 0644, e));
	gpu_table_add_driver(&t, dir);
	CHECK_INT(t.n, 1);
	CHECK_STR(t.name[0], "GPU-12ab-34");
	CHECK_INT(t.notes, 1);
	CHECK(strstr(t.note[0], "0000:02:00.0/information is not used: its UUID cannot be read"));
	gpu_table_fini(&t);
	gpu_table_add_driver(&t, "/nonexistent");
	CHECK_INT(t.n + t.notes, 0);
}

static const char *text_at(const json_t *config, const char *list, size_t i, const char *member)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(config, list), i), member));
}

TEST(devices_become_part_of_the_configuration)
{
	static const char *const names[] = { "nvidia.com/gpu=0", "nvidia.com/gpu=1" };
	json_t *config = json_pack("{s:{s:[s,s]}, s:[{s:s}], s:{s:{s:[{s:b,s:s}]}}}", "process", "env",
	                           "NVIDIA_VISIBLE_DEVICES=all", "MINE=0", "mounts", "destination", "/proc", "linux",
	                           "resources", "devices", "allow", 0, "access", "rwm");
	json_t *linux_part = json_object_get(config, "linux"), *rules, *env, *hook;
	struct cdi cdi;

	free(put("nvidia.yaml", nvidia));
	cdi_load(test_tmpdir(), getuid() == 0, &cdi);
	CHECK_INT(cdi.complaints, 0);
	CHECK_OK(gpu_apply(&cdi, names, 2, config, e));
	CHECK_INT(json_array_size(json_object_get(linux_part, "devices")), 3);
	CHECK_STR(text_at(linux_part, "devices", 0, "path"), "/dev/nvidiactl");
	CHECK_INT(
	        json_integer_value(json_object_get(json_array_get(json_object_get(linux_part, "devices"), 0), "minor")),
	        5);
	CHECK_STR(text_at(linux_part, "devices", 1, "path"), "/dev/nvidia0");
	CHECK_STR(text_at(linux_part, "devices", 2, "path"), "/dev/nvidia1");
	rules = json_object_get(json_object_get(linux_part, "resources"), "devices");
	CHECK_INT(json_array_size(rules), 4);
	CHECK(json_is_false(json_object_get(json_array_get(rules, 0), "allow"))); /* the first stays the first */
	CHECK_INT(json_integer_value(json_object_get(json_array_get(rules, 2), "major")), 195);
	CHECK_STR(json_string_value(json_object_get(json_array_get(rules, 3), "access")), "rw");
	CHECK_STR(text_at(config, "mounts", 1, "destination"), "/usr/bin/nvidia-smi");
	CHECK_INT(json_array_size(json_object_get(config, "mounts")), 2); /* what is common comes once */
	hook = json_array_get(json_object_get(json_object_get(config, "hooks"), "createContainer"), 0);
	CHECK_STR(json_string_value(json_object_get(hook, "path")), "/usr/bin/nvidia-ctk");
	CHECK(!json_object_get(hook, "hookName"));
	env = json_object_get(json_object_get(config, "process"), "env");
	CHECK_INT(json_array_size(env), 3);
	CHECK_STR(json_string_value(json_array_get(env, 0)), "NVIDIA_VISIBLE_DEVICES=all");
	CHECK_STR(json_string_value(json_array_get(env, 1)), "MINE=1");
	json_decref(config);
	cdi_fini(&cdi);
}

static void check_refusal(const char *leaf, const char *text, const char *why)
{
	_cleanup_free_ char *path = put(leaf, text);
	struct cdi cdi;

	cdi_load(test_tmpdir(), false, &cdi);
	CHECK_INT(cdi.n, 0);
	CHECK_INT(cdi.complaints, 1);
	if (!strstr(cdi.complaint[0], why))
		CHECK_STR(cdi.complaint[0], why);
	CHECK(strstr(cdi.complaint[0], path) == cdi.complaint[0]);
	cdi_fini(&cdi);
	CHECK(unlink(path) == 0);
}

#define FILE_WITH(devices) "{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[" devices "]}"
#define EDITS_WITH(edits) FILE_WITH("{\"name\":\"0\",\"containerEdits\":{" edits "}}")

TEST(files_that_are_no_good_say_what_is_wrong)
{
	check_refusal("a.json", "{", "line 1, column 1");
	check_refusal("a.json", "[]", "it is not an object");
	check_refusal("a.json", "{}", "cdiVersion: missing");
	check_refusal("a.json", "{\"cdiVersion\":\"2.0\"}", "version 2.0 is not known here");
	check_refusal("a.json", "{\"cdiVersion\":\"0.5.0\",\"kind\":\"x\"}", "kind: missing, or not of the form");
	check_refusal("a.json", "{\"cdiVersion\":\"0.5.0\",\"kind\":\"x/y\"}", "devices: missing");
	check_refusal("a.json", FILE_WITH("{\"name\":0,\"containerEdits\":{}}"), "(a number needs quotes)");
	check_refusal("a.json", FILE_WITH("{\"name\":\"0\"}"), "devices[0].containerEdits: missing");
	check_refusal("a.json", EDITS_WITH("\"intelRdt\":{}"), "'intelRdt' cannot be done here");
	check_refusal("a.json", EDITS_WITH("\"deviceNodes\":[{}]"), "deviceNodes[0].path: missing");
	check_refusal("a.json", EDITS_WITH("\"deviceNodes\":[{\"path\":\"x\"}]"),
	              "deviceNodes[0].path: not an absolute path");
	check_refusal("a.json", EDITS_WITH("\"deviceNodes\":[{\"path\":\"/x\",\"type\":\"p\"}]"), "neither c nor b");
	check_refusal("a.json", EDITS_WITH("\"deviceNodes\":[{\"path\":\"/x\",\"major\":-1}]"), "major: not a number");
	check_refusal("a.json", EDITS_WITH("\"deviceNodes\":[{\"path\":\"/x\",\"permissions\":\"rx\"}]"),
	              "others than");
	check_refusal("a.json", EDITS_WITH("\"mounts\":[{\"containerPath\":\"/x\"}]"), "mounts[0].hostPath: missing");
	check_refusal("a.json", EDITS_WITH("\"mounts\":{}"), "mounts: not a list");
	check_refusal("a.json", EDITS_WITH("\"env\":[\"A\"]"), "env[0]: not NAME=VALUE");
	check_refusal("a.json", EDITS_WITH("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"/x\"}]"),
	              "hooks of the kind 'poststop' are not run here");
	check_refusal("a.json", EDITS_WITH("\"additionalGids\":[\"1\"]"), "not a list of numbers");
	check_refusal("a.yaml", "a: &x b\n", "anchors and tags are not read here");
	check_refusal("a.yaml", "a: *x\n", "aliases are not read here");
	check_refusal("a.yaml", "a: [1\n", "line 2");
	check_refusal("a.yaml", "", "there is nothing in it");
	check_refusal("a.yaml", "a: 1\n---\nb: 2\n", "a second document");
	check_refusal("a.yaml", "a: 1\na: 2\n", "a key that is there twice");
	/* 438, 666 or a text, by who reads it */
	check_refusal("a.yaml",
	              "cdiVersion: 0.5.0\nkind: a.b/c\ndevices:\n- name: x\n  containerEdits:\n    deviceNodes:\n"
	              "    - path: /dev/null\n      fileMode: 0666\n",
	              "deviceNodes[0].fileMode: not a number");
}

TEST(of_who_else_can_write_a_file_root_takes_nothing)
{
	_cleanup_free_ char *path = put("a.json", EDITS_WITH(""));
	struct cdi cdi;

	if (getuid() != 0)
		return;
	CHECK(chmod(path, 0664) == 0);
	cdi_load(test_tmpdir(), true, &cdi);
	CHECK_INT(cdi.n, 0);
	CHECK(cdi.complaints == 1 && strstr(cdi.complaint[0], "others than root can write it"));
	cdi_fini(&cdi);
	CHECK(chmod(path, 0644) == 0 && chown(path, 1, 0) == 0);
	cdi_load(test_tmpdir(), true, &cdi);
	CHECK_INT(cdi.n, 0);
	cdi_fini(&cdi);
	CHECK(chown(path, 0, 0) == 0);
	cdi_load(test_tmpdir(), true, &cdi);
	CHECK_INT(cdi.n, 1);
	cdi_fini(&cdi);
}

TEST(a_device_that_is_gone_or_described_twice_is_named)
{
	static const char *const name[] = { "a.b/c=0" }, *const other[] = { "a.b/c=1" };
	_cleanup_free_ char *later = strf("%s/later", test_tmpdir()), *dirs = strf("%s %s", test_tmpdir(), later),
	                    *wins = strf("%s/b.json", later);
	struct err e1 = { 0 }, e2 = { 0 }, e3 = { 0 };
	json_t *config = json_object();
	struct cdi cdi;

	free(put("a.json", EDITS_WITH("\"deviceNodes\":[{\"path\":\"/dev/nonexistent\"}]")));
	cdi_load(dirs, false, &cdi);
	CHECK(gpu_apply(&cdi, name, 1, config, &e1) < 0 && e1.kind == ERR_IO);
	CHECK(strstr(e1.frame[0], "the device node /dev/nonexistent cannot be looked at: No such file"));
	CHECK(gpu_apply(&cdi, other, 1, config, &e2) < 0 &&
	      strstr(e2.frame[0], "a.b/c=1 is not described in any file of /"));
	cdi_fini(&cdi);
	free(put("b.json", EDITS_WITH("")));
	cdi_load(dirs, false, &cdi);
	CHECK_INT(cdi.n, 1);
	CHECK(gpu_apply(&cdi, name, 1, config, &e3) < 0 && strstr(e3.frame[0], "is described twice: by "));
	cdi_fini(&cdi);
	/* A later directory's word is the last. */
	CHECK_OK(mkdir_all(AT_FDCWD, later, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, wins, STR(EDITS_WITH("\"env\":[\"A=b\"]")), 0644, e));
	cdi_load(dirs, false, &cdi);
	CHECK_OK(gpu_apply(&cdi, name, 1, config, e));
	cdi_fini(&cdi);
	json_decref(config);
}

TEST(what_nvidia_visible_devices_says)
{
	static const char *const names[] = { "0", "GPU-1", "nvidia.com/gpu=2" };
	_cleanup_free_ char *none = gpu_visible(NULL, 0), *hook = gpu_visible(names, 3),
	                    *cdi = gpu_visible(names + 2, 1);

	CHECK_STR(none, "void");
	CHECK_STR(hook, "0,GPU-1");
	CHECK_STR(cdi, "all");
	CHECK(gpu_is_for_hook(names, 3) && !gpu_is_for_hook(names + 2, 1) && !gpu_is_for_hook(NULL, 0));
	CHECK(gpu_name_ok(STR("nvidia.com/gpu=0:1")) && !gpu_name_ok(STR("a b")) && !gpu_name_ok(STR("")));
}

TEST(the_hook_gets_the_names)
{
	_cleanup_free_ char *hook = put("nvidia-container-runtime-hook", "#!/bin/sh\n");
	static const char *const names[] = { "0" };
	json_t *config = json_object(), *prestart;
	struct cdi none = { 0 };
	struct err e1 = { 0 };

	setenv("PATH", "/nonexistent", 1);
	if (!gpu_find_hook())
		CHECK(gpu_apply(&none, names, 1, config, &e1) < 0 && strstr(e1.frame[0], "is not installed any more"));
	setenv("PATH", test_tmpdir(), 1);
	CHECK(chmod(hook, 0755) == 0);
	CHECK_OK(gpu_apply(&none, names, 1, config, e));
	prestart = json_array_get(json_object_get(json_object_get(config, "hooks"), "prestart"), 0);
	CHECK_STR(json_string_value(json_object_get(prestart, "path")), hook);
	CHECK_STR(json_string_value(json_array_get(json_object_get(prestart, "args"), 1)), "prestart");
	json_decref(config);
}

TEST(yaml_is_json)
{
	json_t *j, *want;
	struct err e = { 0 };

	j = yaml_to_json(STR("a: 1\nb: '1'\nc: [true, ~, x, {}]\nd:\n  e: \"q\\n\"\n  f: -3\n  g: |\n    two\n    "
	                     "lines\nh: 0.5.0\n"),
	                 &e);
	want = json_loads("{\"a\":1,\"b\":\"1\",\"c\":[true,null,\"x\",{}],\"d\":{\"e\":\"q\\n\",\"f\":-3,\"g\":"
	                  "\"two\\nlines\\n\"},"
	                  "\"h\":\"0.5.0\"}",
	                  0, NULL);
	CHECK(j && want && json_equal(j, want));
	json_decref(j);
	json_decref(want);
	CHECK(!yaml_to_json(STR("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["), &e) && strstr(e.frame[0], "deeper"));
	CHECK(!yaml_to_json(STR("a: !!int 3"), NULL));
}
