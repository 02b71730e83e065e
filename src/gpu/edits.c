/* What a CDI file wants of a container, and how that is said in an OCI configuration. SPDX-License-Identifier:
 * Apache-2.0
 *
 * https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md, up to version 1.0. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "gpu/cdi.h"

/* ---- checking ---- */

enum form { TEXT, PATH, TEXTS, NUMBER, NUMBERS };

struct member {
	const char *name;
	enum form form;
	bool needed;
};

static const struct member node_members[] = { { "path", PATH, true }, { "hostPath", PATH }, { "type", TEXT },
	                                      { "major", NUMBER },    { "minor", NUMBER },  { "fileMode", NUMBER },
	                                      { "uid", NUMBER },      { "gid", NUMBER },    { "permissions", TEXT } };
static const struct member mount_members[] = {
	{ "hostPath", TEXT, true }, { "containerPath", PATH, true }, { "type", TEXT }, { "options", TEXTS }
};
static const struct member hook_members[] = {
	{ "hookName", TEXT, true }, { "path", PATH, true }, { "args", TEXTS }, { "env", TEXTS }, { "timeout", NUMBER }
};

static bool is_list_of(const json_t *v, enum form form)
{
	for (size_t i = 0; i < json_array_size(v); i++)
		if (form == TEXTS ? !json_is_string(json_array_get(v, i)) : !json_is_integer(json_array_get(v, i)))
			return false;
	return json_is_array(v);
}

static bool is_of(const json_t *v, enum form form)
{
	switch (form) {
	case TEXT: return json_is_string(v) && json_string_length(v) > 0;
	case PATH: return json_is_string(v) && json_string_value(v)[0] == '/';
	case NUMBER: return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= UINT32_MAX;
	case TEXTS:
	case NUMBERS: return is_list_of(v, form);
	}
	return false;
}

static int check_object(const json_t *o, const struct member *m, size_t n, const char *where, struct err *e)
{
	static const char *const wanted[] = { [TEXT] = "a text",
		                              [PATH] = "an absolute path",
		                              [TEXTS] = "a list of texts",
		                              [NUMBER] = "a number",
		                              [NUMBERS] = "a list of numbers" };
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return err_set(e, ERR_INVALID, "%s: not an object", where);
	json_object_foreach ((json_t *)o, key, v) {
		size_t i = 0;

		while (i < n && strcmp(m[i].name, key) != 0)
			i++;
		if (i == n)
			return err_set(e, ERR_INVALID, "%s: '%.64s' is not a member that is known here", where, key);
		if (!is_of(v, m[i].form))
			return err_set(e, ERR_INVALID, "%s.%s: not %s", where, key, wanted[m[i].form]);
	}
	for (size_t i = 0; i < n; i++)
		if (m[i].needed && !json_object_get(o, m[i].name))
			return err_set(e, ERR_INVALID, "%s.%s: missing", where, m[i].name);
	return 0;
}

static int check_node(const json_t *o, const char *where, struct err *e)
{
	const char *type = json_string_value(json_object_get(o, "type"));
	const char *access = json_string_value(json_object_get(o, "permissions"));

	if (check_object(o, node_members, ARRAY_LEN(node_members), where, e) < 0)
		return -1;
	if (type && strcmp(type, "c") != 0 && strcmp(type, "b") != 0)
		return err_set(e, ERR_INVALID, "%s.type: neither c nor b", where);
	if (access && access[strspn(access, "rwm")])
		return err_set(e, ERR_INVALID, "%s.permissions: others than r, w and m", where);
	return 0;
}

static int check_mount(const json_t *o, const char *where, struct err *e)
{
	return check_object(o, mount_members, ARRAY_LEN(mount_members), where, e);
}

static int check_hook(const json_t *o, const char *where, struct err *e)
{
	static const char *const known[] = { "prestart", "createRuntime", "createContainer", "startContainer",
		                             "poststart" };
	const char *name = json_string_value(json_object_get(o, "hookName"));

	if (check_object(o, hook_members, ARRAY_LEN(hook_members), where, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(name, known[i]) == 0)
			return 0;
	return err_set(e, ERR_INVALID, "%s.hookName: hooks of the kind '%.32s' are not run here", where, name);
}

/* The lists of containerEdits whose members are objects. */
static const struct {
	const char *name;
	int (*check)(const json_t *o, const char *where, struct err *e);
} lists[] = { { "deviceNodes", check_node }, { "mounts", check_mount }, { "hooks", check_hook } };

static int check_list(const json_t *list, size_t which, const char *where, struct err *e)
{
	char at[128];

	if (!json_is_array(list))
		return err_set(e, ERR_INVALID, "%s.%s: not a list", where, lists[which].name);
	for (size_t i = 0; i < json_array_size(list); i++) {
		snprintf(at, sizeof(at), "%s.%s[%zu]", where, lists[which].name, i);
		if (lists[which].check(json_array_get(list, i), at, e) < 0)
			return -1;
	}
	return 0;
}

static int check_env(const json_t *env, const char *where, struct err *e)
{
	const json_t *v;
	size_t i;

	if (!is_list_of(env, TEXTS))
		return err_set(e, ERR_INVALID, "%s.env: not a list of texts", where);
	json_array_foreach (env, i, v)
		if (!str_has_byte(str_of(json_string_value(v)), '='))
			return err_set(e, ERR_INVALID, "%s.env[%zu]: not NAME=VALUE", where, i);
	return 0;
}

int cdi_edits_check(const json_t *edits, const char *where, struct err *e)
{
	const char *key;
	json_t *v;

	if (!json_is_object(edits))
		return err_set(e, ERR_INVALID, "%s: missing, or not an object", where);
	json_object_foreach ((json_t *)edits, key, v) {
		size_t which = 0;
		int rc;

		while (which < ARRAY_LEN(lists) && strcmp(lists[which].name, key) != 0)
			which++;
		if (which < ARRAY_LEN(lists))
			rc = check_list(v, which, where, e);
		else if (strcmp(key, "env") == 0)
			rc = check_env(v, where, e);
		else if (strcmp(key, "additionalGids") == 0)
			rc = is_list_of(v, NUMBERS)
			             ? 0
			             : err_set(e, ERR_INVALID, "%s.%s: not a list of numbers", where, key);
		else
			rc = err_set(e, ERR_INVALID, "%s: '%.64s' cannot be done here", where, key);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ---- applying ---- */

/* The member, made where it is not there. */
static json_t *within(json_t *object, const char *name, bool list)
{
	json_t *v = json_object_get(object, name);

	if (!v) {
		v = list ? json_array() : json_object();
		json_object_set_new(object, name, v);
	}
	return v;
}

static struct str name_of(const char *assignment)
{
	struct str rest = str_of(assignment);

	return str_cut(&rest, '=');
}

/* NVIDIA_VISIBLE_DEVICES stays as it is: nvidia-ctk writes `void`, which is meant for a runtime that would act on it a
 * second time. Ours does not, and the service says `all` (contract 1.4). */
static void add_env(const json_t *env, json_t *config)
{
	json_t *list = within(within(config, "process", false), "env", true), *v, *had;
	size_t i, k;

	json_array_foreach ((json_t *)env, i, v) {
		struct str name = name_of(json_string_value(v));

		if (str_is(name, "NVIDIA_VISIBLE_DEVICES"))
			continue;
		json_array_foreach (list, k, had)
			if (str_eq(name_of(json_string_value(had)), name))
				break;
		if (k < json_array_size(list))
			json_array_set(list, k, v);
		else
			json_array_append(list, v);
	}
}

static void add_gids(const json_t *gids, json_t *config)
{
	json_t *user = within(within(config, "process", false), "user", false);
	json_t *list = within(user, "additionalGids", true), *v, *had;
	size_t i, k;

	json_array_foreach ((json_t *)gids, i, v) {
		json_array_foreach (list, k, had)
			if (json_equal(had, v))
				break;
		if (k == json_array_size(list))
			json_array_append(list, v);
	}
}

/* What the file does not say of a node is as it is on the machine; a node that is not there is a device that is not. */
static int look_at(const json_t *node, char *ret_type, json_int_t *ret_major, json_int_t *ret_minor, struct err *e)
{
	const char *path = json_string_value(json_object_get(node, "path"));
	const char *host = json_string_value(json_object_get(node, "hostPath"));
	const char *type = json_string_value(json_object_get(node, "type"));
	const json_t *major = json_object_get(node, "major"), *minor = json_object_get(node, "minor");
	struct stat st;

	*ret_type = type ? *type : 'c';
	*ret_major = json_integer_value(major);
	*ret_minor = json_integer_value(minor);
	if (type && major && minor)
		return 0;
	if (!host)
		host = path;
	if (stat(host, &st) < 0)
		return err_set(e, ERR_IO, "the device node %s cannot be looked at: %s", host, strerror(errno));
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_IO, "%s is not a device node", host);
	*ret_type = S_ISBLK(st.st_mode) ? 'b' : 'c';
	*ret_major = major(st.st_rdev);
	*ret_minor = minor(st.st_rdev);
	return 0;
}

static int add_node(const json_t *node, json_t *config, struct err *e)
{
	json_t *linux_part = within(config, "linux", false), *device;
	const char *access = json_string_value(json_object_get(node, "permissions"));
	json_int_t major, minor;
	char type[2] = { 0 };

	if (look_at(node, type, &major, &minor, e) < 0)
		return -1;
	device = json_pack("{s:O, s:s, s:I, s:I}", "path", json_object_get(node, "path"), "type", type, "major", major,
	                   "minor", minor);
	must(device);
	for (const char *const *copy = (const char *const[]){ "fileMode", "uid", "gid", NULL }; *copy; copy++)
		if (json_object_get(node, *copy))
			json_object_set(device, *copy, json_object_get(node, *copy));
	if (!json_object_get(device, "fileMode"))
		json_object_set_new(device, "fileMode", json_integer(0666));
	json_array_append_new(within(linux_part, "devices", true), device);
	json_array_append_new(within(within(linux_part, "resources", false), "devices", true),
	                      json_pack("{s:b, s:s, s:I, s:I, s:s}", "allow", 1, "type", type, "major", major, "minor",
	                                minor, "access", access && *access ? access : "rwm"));
	return 0;
}

static bool has_text(const json_t *list, const char *text)
{
	const json_t *v;
	size_t i;

	json_array_foreach (list, i, v)
		if (strcmp(json_string_value(v), text) == 0)
			return true;
	return false;
}

static void add_mount(const json_t *mount, json_t *config)
{
	const char *type = json_string_value(json_object_get(mount, "type"));
	json_t *options = json_deep_copy(json_object_get(mount, "options"));

	if (!options)
		options = json_array();
	if (!type && !has_text(options, "bind") && !has_text(options, "rbind"))
		json_array_append_new(options, json_string("rbind"));
	json_array_append_new(within(config, "mounts", true),
	                      json_pack("{s:O, s:O, s:s, s:o}", "source", json_object_get(mount, "hostPath"),
	                                "destination", json_object_get(mount, "containerPath"), "type",
	                                type ? type : "bind", "options", options));
}

static void add_hook(const json_t *hook, json_t *config)
{
	json_t *hooks = within(config, "hooks", false), *copy = json_deep_copy(hook);

	json_object_del(copy, "hookName");
	json_array_append_new(within(hooks, json_string_value(json_object_get(hook, "hookName")), true), copy);
}

int cdi_edits_apply(const json_t *edits, json_t *config, struct err *e)
{
	const json_t *v;
	size_t i;

	add_env(json_object_get(edits, "env"), config);
	if (json_object_get(edits, "additionalGids"))
		add_gids(json_object_get(edits, "additionalGids"), config);
	json_array_foreach (json_object_get(edits, "deviceNodes"), i, v)
		if (add_node(v, config, e) < 0)
			return -1;
	json_array_foreach (json_object_get(edits, "mounts"), i, v)
		add_mount(v, config);
	json_array_foreach (json_object_get(edits, "hooks"), i, v)
		add_hook(v, config);
	return 0;
}
