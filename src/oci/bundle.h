/* bundle.h - from a job's wishes to an OCI runtime bundle: config.json, the check before the start, and the runtime.
 *
 * Runs inside bloomery-job as root.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "oci/image.h"

struct bundle_mount {
	const char *source, *destination, *type; /* type "bind" or a file system */
	const char *const *options;              /* NULL-terminated */
};

struct bundle_options {
	const char *rootfs; /* absolute; the overlay, already mounted */
	const struct image *image;
	const char *const *args; /* process.args, NULL-terminated */
	const char *const *env;  /* whole environment, NULL-terminated "K=V" */
	const char *hostname;
	const char *cgroup; /* linux.cgroupsPath, e.g. "/bloomery/<id>" */
	double cpus;
	uint64_t memory_bytes, shm_bytes, pids;
	bool own_network;                  /* a network namespace that is not the machine's */
	const char *network_path;          /* that one, absolute; NULL: a new one, in which only lo is up */
	const struct bundle_mount *mounts; /* besides /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup */
	size_t mount_count;
};

/* process.args for SageMaker's way of starting (contract 1.5): entrypoint and arguments from the request (NULL when
 * absent), the image's ENTRYPOINT, and the argument `train`. NULL-terminated; free each and the array. */
char **bundle_args(const struct image *image, const char *const *entrypoint, const char *const *arguments);

/* The OCI config: default seccomp profile, docker's default capabilities, no new privileges, masked and read-only
 * paths, /dev/shm sized, no TTY, no rlimits beyond ours, user resolved in the rootfs' passwd and group. */
int bundle_config(const struct bundle_options *o, json_t **ret, struct err *e) must_check;

/* Looks at what would be executed, inside rootfs, before it is: found on PATH, executable, shebang's interpreter
 * there, no CR in the first line, ELF for this machine, its loader there. ERR_TRAINER with a sentence that says what to
 * do. Follows symbolic links as the container would (chroot semantics), never out of rootfs. */
int bundle_preflight(const char *rootfs, const char *const *args, const char *const *env, const char *working_dir,
                     struct err *e) must_check;

/* What was found out on the way. Zeroed before; valid as far as it got, also on failure. */
struct program_facts {
	char *path;        /* of what would be executed */
	char *interpreter; /* of its first line, if it is a script; what is executed in the end may be another's */
	unsigned machine;  /* ELF's e_machine of what is executed in the end; 0: not known */
	bool foreign;      /* this machine does not run that */
	uint32_t uid, gid, mode; /* of path */
};
void program_facts_fini(struct program_facts *f);
/* The same as bundle_preflight. */
int bundle_look(const char *rootfs, const char *const *args, const char *const *env, const char *working_dir,
                struct program_facts *ret, struct err *e) must_check;
const char *machine_name(unsigned machine); /* for people; of ELF's e_machine */

/* runc or crun, whichever works here. */
struct runtime {
	char *path, *version; /* "/usr/sbin/runc", "runc 1.1.5" */
	int cgroup_version;   /* 1 or 2 */
};
void runtime_fini(struct runtime *r);
/* Finds the first that starts a container: a bundle with one tiny program, made and removed below scratch_dir. Takes
 * some 50 ms, so bloomery-host does it once at its start and saves the result. ERR_IO says what was tried and why it
 * failed. */
int runtime_probe(const char *scratch_dir, struct runtime *ret, struct err *e) must_check;
/* <data>/runtime.json: written by bloomery-host, read by bloomery-job. ERR_NOT_FOUND: none there, or the program it
 * names has changed since; probe again. */
int runtime_save(const char *path, const struct runtime *r, struct err *e) must_check;
int runtime_load(const char *path, struct runtime *ret, struct err *e) must_check;

/* Words what a runtime (`program`) said about a failed start: ERR_TRAINER for faults of image or request, else ERR_IO.
 */
int runtime_error(const char *program, const char *message, struct err *e);

struct runtime_order {
	const char *state_dir, *bundle_dir; /* what the runtime keeps; where config.json is */
	const char *id;
	int out_fd, err_fd; /* stdout and stderr of the container */
};
/* Starts a container detached. On return the first process runs and is a child of the nearest subreaper (us).
 * ERR_TRAINER with the runtime's reason otherwise. */
int runtime_run(const struct runtime *r, const struct runtime_order *c, pid_t *ret_pid, struct err *e) must_check;
/* The same in two steps: after the first all is made, and its first process waits to execute the program; the second
 * lets it. Together they take longer than runtime_run, but the second is short. */
int runtime_create(const struct runtime *r, const struct runtime_order *c, pid_t *ret_pid, struct err *e) must_check;
int runtime_start(const struct runtime *r, const struct runtime_order *c, struct err *e) must_check;
/* Kills every process of the container and removes what the runtime keeps about it. Idempotent. */
int runtime_delete(const struct runtime *r, const char *state_dir, const char *id, struct err *e) must_check;

/* 2 where /sys/fs/cgroup is the unified hierarchy, else 1 (also for hybrids: controllers are in the v1 hierarchies). */
int cgroup_version(void);
/* Makes controllers ("cpu memory pids") usable in the children of a cgroup of the unified hierarchy. The kernel refuses
 * that while processes live in the cgroup itself, as they do at the top of a container's own hierarchy; then they are
 * moved to its child "init" first. Controllers that are not there are left out. */
int cgroup_delegate(const char *dir, const char *controllers, struct err *e) must_check;
/* Whether the kernel counts swap, so that a limit on memory and swap together can be set. */
bool cgroup_limits_swap(void);

/* Facts of a cgroup, readable until runtime_delete. */
struct cgroup_stats {
	uint64_t oom_kills, memory_peak_bytes, memory_limit_bytes, pids_max_hits, cpu_usec;
};
int cgroup_stats(const char *cgroup, struct cgroup_stats *ret, struct err *e) must_check;
/* Whether any hierarchy has it; true also when that cannot be found out. Does not wait. */
bool cgroup_exists(const char *cgroup);
/* The cgroup's directory where the files of a controller are ("cpuacct", "memory", "blkio"; of the unified hierarchy
 * the one there is), for who reads them often; -1 when there is none. The caller closes it. */
int cgroup_open(const char *cgroup, const char *controller);
/* Limits on a cgroup that is there, for all that is below it together. Others than the runtime's: that sets those of
 * containers. */
int cgroup_limit(const char *cgroup, double cpus, uint64_t memory_bytes, uint64_t pids, struct err *e) must_check;
/* SIGKILLs everything in the cgroup and below, and removes it in every hierarchy. Idempotent, waits until empty. */
int cgroup_destroy(const char *cgroup, struct err *e) must_check;
/* Sends a signal to every process in it. */
int cgroup_signal(const char *cgroup, int signo, struct err *e) must_check;
