/* From the request to a running container: what is executed, its environment, the bundle, the runtime.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"

enum { CONFIG_MODE = 0600 };
#define ROOTFS RUN_WORK "/rootfs"

/* A list of strings of the request; NULL when it is absent. Borrowed strings, the array is the caller's to free. */
static const char **strings_of(const json_t *list)
{
	size_t n = json_array_size(list);
	const char **v = n ? xcalloc(n + 1, sizeof(*v)) : NULL;

	for (size_t i = 0; i < n; i++)
		v[i] = json_string_value(json_array_get(list, i));
	return v;
}

static char **program_of(const struct run *r)
{
	const json_t *algorithm = json_object_get(r->spec.request, "AlgorithmSpecification");
	const char **entrypoint = strings_of(json_object_get(algorithm, "ContainerEntrypoint"));
	const char **arguments = strings_of(json_object_get(algorithm, "ContainerArguments"));
	char **args = bundle_args(&r->image, entrypoint, arguments);

	free(entrypoint);
	free(arguments);
	return args;
}

/* bloomery-host has tried once for all jobs and noted which one works; without its note we try ourselves. */
static int find_runtime(struct run *r, struct err *e)
{
	_cleanup_free_ char *note = strf("%s/runtime.json", r->data_dir);

	if (runtime_load(note, &r->runtime, NULL) == 0)
		return 0;
	return runtime_probe(RUN_WORK, &r->runtime, e);
}

static int write_bundle(struct run *r, char **args, char **env, struct err *e)
{
	_cleanup_free_ char *network = strf("/proc/%d/fd/%d", (int)getpid(), r->network_ns);
	size_t mount_count;
	struct bundle_mount *mounts = channel_mounts(r, &mount_count);
	struct bundle_options o = { .rootfs = ROOTFS,
		                    .image = &r->image,
		                    .args = (const char *const *)args,
		                    .env = (const char *const *)env,
		                    .hostname = r->spec.host_name,
		                    .cgroup = r->cgroup,
		                    .cpus = r->spec.limits.cpus,
		                    .memory_bytes = r->spec.limits.memory_bytes,
		                    .shm_bytes = r->spec.limits.shm_bytes,
		                    .pids = r->spec.limits.pids,
		                    .own_network = r->network_ns >= 0,
		                    .network_path = r->network_ns >= 0 ? network : NULL,
		                    .mounts = mounts,
		                    .mount_count = mount_count };
	json_t *config = NULL;
	char *text;
	int result = bundle_config(&o, &config, e);

	channel_mounts_free(mounts, mount_count);
	if (result == 0)
		result = gpus_into(r, config, e);
	if (result < 0) {
		json_decref(config);
		return -1;
	}
	text = json_dumps(config, JSON_COMPACT);
	json_decref(config);
	must(text);
	if (mkdirat(r->work_fd, "bundle", 0700) < 0 || mkdirat(r->work_fd, "runtime", 0700) < 0)
		result = err_sys(e, "making the bundle");
	else
		result = file_put(r->work_fd, "bundle/config.json", str_of(text), CONFIG_MODE, e);
	free(text);
	return result;
}

static struct runtime_order order_of(const struct run *r, int out, int err_fd)
{
	return (struct runtime_order){ RUN_WORK "/runtime", RUN_WORK "/bundle", r->spec.id, out, err_fd };
}

/* The only host of a job starts at once. Of several each has its container made before it says that it is ready, so
 * that all of them start within a moment, and what cannot be started is known before any has. */
static int make(struct run *r, struct err *e)
{
	_cleanup_close_ int out = -EBADF, err_fd = -EBADF;
	struct runtime_order o;

	if (output_open(r, &out, &err_fd, e) < 0)
		return -1;
	o = order_of(r, out, err_fd);
	r->container_made = true;
	r->container_started = mono_now();
	if (r->spec.host_count > 1)
		return runtime_create(&r->runtime, &o, &r->pid, e);
	if (runtime_run(&r->runtime, &o, &r->pid, e) < 0)
		return -1;
	r->outcome.started = true;
	return 0;
}

enum step phase_container(struct run *r, struct err *e)
{
	char **env = environment_of(&r->spec, &r->image, r->network_interface, r->credentials_url);
	int result = -1;

	r->args = program_of(r);
	if (find_runtime(r, e) < 0)
		goto out;
	if (bundle_preflight(ROOTFS, (const char *const *)r->args, (const char *const *)env, r->image.working_dir, e) <
	    0)
		goto out;
	if (write_bundle(r, r->args, env, e) < 0)
		goto out;
	result = feeders_look(r) ? -1 : make(r, e);
out:
	strv_free(env);
	if (result < 0 && feeders_look(r)) /* what is mounted from it cannot be used any more, which is no news then */
		*e = *feeders_failure(r);
	return result < 0 ? STEP_FAIL : STEP_NEXT;
}

enum step phase_start(struct run *r, struct err *e)
{
	struct runtime_order o = order_of(r, -1, -1);

	if (r->outcome.started)
		return STEP_NEXT;
	if (feeders_look(r)) { /* while the others were waited for */
		*e = *feeders_failure(r);
		return STEP_FAIL;
	}
	r->container_started = mono_now();
	if (runtime_start(&r->runtime, &o, e) < 0)
		return STEP_FAIL;
	r->outcome.started = true;
	return STEP_NEXT;
}

/* Killing everything in the cgroup and removing it is all there is to undo: what the runtime has noted is in work/. */
void undo_container(struct run *r)
{
	struct err e = { 0 };

	feeders_kill(r); /* before processes are waited for that may wait for them */
	if (r->container_made && cgroup_destroy(r->cgroup, &e) < 0)
		log_err(LOG_WARN, &e, "removing the container's cgroup");
	r->container_made = false;
	output_close(take_ptr(r->output));
}
