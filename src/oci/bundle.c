/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/bundle.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <linux/capability.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/rootfs.h"
#include "oci/seccomp.h"

enum { NOFILE_MOST = 1 << 20, SHM_DEFAULT = 64 << 20, CPU_PERIOD_US = 100000, OOM_SCORE_ADJ = 300 };

char **bundle_args(const struct image *image, const char *const *entrypoint, const char *const *arguments)
{
	static const char *const train[] = { "train", NULL }, *const nothing[] = { NULL };
	const char *const *first = entrypoint ? entrypoint : (const char *const *)image->entrypoint;
	const char *const *then = arguments ? arguments : entrypoint ? nothing : train;
	size_t n = 0, at = 0;
	char **args;

	for (const char *const *a = first; *a; a++)
		n++;
	for (const char *const *a = then; *a; a++)
		n++;
	args = xcalloc(n + 1, sizeof(*args));
	for (const char *const *a = first; *a; a++)
		args[at++] = xstrdup(*a);
	for (const char *const *a = then; *a; a++)
		args[at++] = xstrdup(*a);
	return args;
}

/* What docker leaves a container, less what we do not have ourselves. Raw sockets
 * never: they see and forge packets of others. In the machine's own network (doc/adr/0019) neither the ports that mean
 * a service of the machine. */
static json_t *capabilities(bool own_network)
{
	static const struct {
		const char *name;
		int number;
		bool in_own_network; /* only there */
	} kept[] = {
		{ "CAP_AUDIT_WRITE", CAP_AUDIT_WRITE },
		{ "CAP_CHOWN", CAP_CHOWN },
		{ "CAP_DAC_OVERRIDE", CAP_DAC_OVERRIDE },
		{ "CAP_FOWNER", CAP_FOWNER },
		{ "CAP_FSETID", CAP_FSETID },
		{ "CAP_KILL", CAP_KILL },
		{ "CAP_MKNOD", CAP_MKNOD },
		{ "CAP_NET_BIND_SERVICE", CAP_NET_BIND_SERVICE, true },
		{ "CAP_SETFCAP", CAP_SETFCAP },
		{ "CAP_SETGID", CAP_SETGID },
		{ "CAP_SETPCAP", CAP_SETPCAP },
		{ "CAP_SETUID", CAP_SETUID },
		{ "CAP_SYS_CHROOT", CAP_SYS_CHROOT },
	};
	json_t *set = json_array(), *all;

	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if ((own_network || !kept[i].in_own_network) && prctl(PR_CAPBSET_READ, kept[i].number, 0, 0, 0) == 1)
			json_array_append_new(set, json_string(kept[i].name));
	all = json_pack("{s:O, s:O, s:O}", "bounding", set, "effective", set, "permitted", set);
	json_decref(set);
	return all;
}

/* Descriptors: as many as we may have ourselves, so that data loaders do not meet the old 1024; no limit is raised
 * above our own hard one. */
static json_t *rlimits(void)
{
	struct rlimit rl;
	json_int_t most;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return json_array();
	most = rl.rlim_max > NOFILE_MOST ? NOFILE_MOST : (json_int_t)rl.rlim_max;
	return json_pack("[{s:s, s:I, s:I}]", "type", "RLIMIT_NOFILE", "hard", most, "soft", most);
}

static int add_strings(json_t *object, const char *key, const char *const *list, struct err *e)
{
	json_t *array = json_array();

	for (; *list; list++) {
		json_t *z = json_string(*list); /* NULL when it is not UTF-8 */

		if (!z) {
			json_decref(array);
			return err_set(e, ERR_TRAINER, "process.%s: '%s' is not valid UTF-8", key, *list);
		}
		json_array_append_new(array, z);
	}
	json_object_set_new(object, key, array);
	return 0;
}

/* The more likely victim of an OOM of the whole machine is the trainer, not what watches it. Lowering needs a privilege
 * that we may lack, so never below our own. */
static int oom_score_adj(void)
{
	_cleanup_buf_ struct buf b = { 0 };
	int64_t own = 0;

	if (file_read("/proc/self/oom_score_adj", 64, &b, NULL) < 0 || !str_to_i64(str_trim(buf_view(&b)), &own))
		own = 0;
	return own > OOM_SCORE_ADJ ? (int)own : OOM_SCORE_ADJ;
}

static int make_process(const struct bundle_options *o, json_t **ret, struct err *e)
{
	_cleanup_close_ int rootfs = open(o->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *dir = o->image->working_dir;
	_cleanup_free_ char *cwd = strf("%s%s", dir[0] == '/' ? "" : "/", dir);
	struct rootfs_user u = { 0 };
	json_t *process, *groups;

	if (rootfs < 0)
		return err_sys(e, "opening the root %s", o->rootfs);
	if (rootfs_user(rootfs, o->image->user, &u, e) < 0)
		return -1;
	groups = json_array();
	for (size_t i = 0; i < u.group_count; i++)
		json_array_append_new(groups, json_integer(u.groups[i]));
	process = json_pack("{s:b, s:{s:I, s:I, s:o}, s:s, s:o, s:o, s:b, s:i}", "terminal", 0, "user", "uid",
	                    (json_int_t)u.uid, "gid", (json_int_t)u.gid, "additionalGids", groups, "cwd", cwd,
	                    "capabilities", capabilities(o->own_network), "rlimits", rlimits(), "noNewPrivileges", 1,
	                    "oomScoreAdj", oom_score_adj());
	rootfs_user_fini(&u);
	if (!process)
		return err_set(e, ERR_TRAINER, "the image's working directory is not valid UTF-8");
	if (add_strings(process, "args", o->args, e) < 0 || add_strings(process, "env", o->env, e) < 0) {
		json_decref(process);
		return -1;
	}
	*ret = process;
	return 0;
}

static void add_mount(json_t *mounts, const struct bundle_mount *m)
{
	json_t *options = json_array(), *mount;

	for (const char *const *o = m->options; o && *o; o++)
		json_array_append_new(options, json_string(*o));
	mount = json_pack("{s:s, s:s, s:s, s:o}", "destination", m->destination, "type", m->type, "source", m->source,
	                  "options", options);
	must(mount);
	json_array_append_new(mounts, mount);
}

static bool kernel_has(const char *file_system)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *line = strf("\t%s\n", file_system);

	return file_read("/proc/filesystems", 65536, &b, NULL) == 0 && str_find(buf_view(&b), str_of(line)) >= 0;
}

static json_t *make_mounts(const struct bundle_options *o)
{
	_cleanup_free_ char *shm_size = strf("size=%llu",
	                                     (unsigned long long)(o->shm_bytes ? o->shm_bytes : SHM_DEFAULT));
	const char *const shm[] = { "nosuid", "noexec", "nodev", "mode=1777", shm_size, NULL };
	static const char *const dev[] = { "nosuid", "strictatime", "mode=755", "size=65536k", NULL };
	static const char *const pts[] = { "nosuid",    "noexec", "newinstance", "ptmxmode=0666",
		                           "mode=0620", "gid=5",  NULL };
	static const char *const plain[] = { "nosuid", "noexec", "nodev", NULL };
	static const char *const read_only[] = { "nosuid", "noexec", "nodev", "ro", NULL };
	static const char *const cgroup[] = { "nosuid", "noexec", "nodev", "relatime", "ro", NULL };
	const struct bundle_mount standard[] = {
		{ "proc", "/proc", "proc", plain },
		{ "tmpfs", "/dev", "tmpfs", dev },
		{ "devpts", "/dev/pts", "devpts", pts },
		{ "sysfs", "/sys", "sysfs", read_only },
		{ "cgroup", "/sys/fs/cgroup", "cgroup", cgroup },
		{ "shm", "/dev/shm", "tmpfs", shm },
	};
	const struct bundle_mount mqueue = { "mqueue", "/dev/mqueue", "mqueue", plain };
	json_t *mounts = json_array();

	for (size_t i = 0; i < ARRAY_LEN(standard); i++)
		add_mount(mounts, &standard[i]);
	if (kernel_has("mqueue"))
		add_mount(mounts, &mqueue);
	for (size_t i = 0; i < o->mount_count; i++)
		add_mount(mounts, &o->mounts[i]);
	return mounts;
}

static json_t *make_namespaces(const struct bundle_options *o)
{
	json_t *list = json_pack("[{s:s}, {s:s}, {s:s}, {s:s}]", "type", "pid", "type", "ipc", "type", "uts", "type",
	                         "mount");

	if (o->own_network)
		json_array_append_new(list, json_pack("{s:s, s:s*}", "type", "network", "path", o->network_path));
	if (cgroup_version() == 2)
		json_array_append_new(list, json_pack("{s:s}", "type", "cgroup"));
	return list;
}

static json_t *make_resources(const struct bundle_options *o)
{
	json_t *r = json_pack("{s:[{s:b, s:s}]}", "devices", "allow", 0, "access", "rwm");

	if (o->memory_bytes) {
		json_t *memory = json_pack("{s:I}", "limit", (json_int_t)o->memory_bytes);

		if (cgroup_limits_swap()) /* memory and swap together: a trainer gets no swap */
			json_object_set_new(memory, "swap", json_integer((json_int_t)o->memory_bytes));
		json_object_set_new(r, "memory", memory);
	}
	if (o->cpus > 0) {
		json_int_t shares = (json_int_t)(o->cpus * 1024), quota = (json_int_t)(o->cpus * CPU_PERIOD_US);

		json_object_set_new(r, "cpu",
		                    json_pack("{s:I, s:I, s:I}", "shares", shares < 2 ? (json_int_t)2 : shares, "quota",
		                              quota < 1000 ? (json_int_t)1000 : quota, "period",
		                              (json_int_t)CPU_PERIOD_US));
	}
	if (o->pids)
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)o->pids));
	return r;
}

int bundle_config(const struct bundle_options *o, json_t **ret, struct err *e)
{
	json_t *process = NULL, *config;

	must(o->rootfs[0] == '/' && o->cgroup[0] == '/' && o->args[0]);
	if (make_process(o, &process, e) < 0)
		return err_in(e, "preparing the container");
	config = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:{s:s, s:o, s:o, s:o, s:[ssssssssssss], s:[sssss]}}",
	                   "ociVersion", "1.0.2", "process", process, "root", "path", o->rootfs, "readonly", 0,
	                   "hostname", o->hostname, "mounts", make_mounts(o), "linux", "cgroupsPath", o->cgroup,
	                   "namespaces", make_namespaces(o), "resources", make_resources(o), "seccomp",
	                   seccomp_profile(), "maskedPaths", "/proc/acpi", "/proc/asound", "/proc/interrupts",
	                   "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	                   "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	                   "readonlyPaths", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");
	if (config && o->own_network) /* what a machine of its own allows: ping without raw sockets, and any port */
		json_object_set_new(json_object_get(config, "linux"), "sysctl",
		                    json_pack("{s:s, s:s}", "net.ipv4.ping_group_range", "0 2147483647",
		                              "net.ipv4.ip_unprivileged_port_start", "0"));
	if (!config)
		return err_set(e, ERR_BUG, "the container's configuration holds text that is not UTF-8");
	*ret = config;
	return 0;
}
