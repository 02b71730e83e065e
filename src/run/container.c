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
	char **args = bundle_args(&r->box[0].image, entrypoint, arguments);

	free(entrypoint);
	free(arguments);
	return args;
}

/* bloomery-host has tried once for all jobs and noted which one works; without its note we try ourselves. */
int box_find_runtime(struct run *r, struct err *e)
{
	_cleanup_free_ char *note = strf("%s/runtime.json", r->data_dir);

	if (runtime_load(note, &r->runtime, NULL) == 0)
		return 0;
	return runtime_probe(RUN_WORK, &r->runtime, e);
}

/* What the runtime knows it by. */
static char *box_id(const struct box *b)
{
	size_t at = (size_t)(b - b->run->box);

	return at ? strf("%s-%zu", b->run->spec.id, at + 1) : xstrdup(b->run->spec.id);
}

static int put_config(struct box *b, const json_t *config, struct err *e)
{
	_cleanup_free_ char *bundle = box_path(b, "bundle"), *leaf = box_path(b, "bundle/config.json");
	char *text = json_dumps(config, JSON_COMPACT);
	int result = 0;

	must(text);
	if (mkdirat(b->run->work_fd, bundle, 0700) < 0 ||
	    (mkdirat(b->run->work_fd, "runtime", 0700) < 0 && errno != EEXIST))
		result = err_sys(e, "making the bundle");
	else
		result = file_put(b->run->work_fd, leaf, str_of(text), CONFIG_MODE, e);
	free(text);
	return result;
}

static int write_bundle(struct box *b, const char *rootfs, char **env, struct err *e)
{
	struct run *r = b->run;
	_cleanup_free_ char *network = strf("/proc/%d/fd/%d", (int)getpid(), b->network_ns);
	size_t mount_count;
	struct bundle_mount *mounts = channel_mounts(r, &mount_count);
	struct bundle_options o = { .rootfs = rootfs,
		                    .image = &b->image,
		                    .args = (const char *const *)b->args,
		                    .env = (const char *const *)env,
		                    .hostname = b->hostname,
		                    .cgroup = b->cgroup,
		                    .cpus = r->spec.limits.cpus,
		                    .memory_bytes = r->spec.limits.memory_bytes,
		                    .shm_bytes = r->spec.limits.shm_bytes,
		                    .pids = r->spec.limits.pids,
		                    .own_network = b->network_ns >= 0,
		                    .network_path = b->network_ns >= 0 ? network : NULL,
		                    .mounts = mounts,
		                    .mount_count = mount_count };
	json_t *config = NULL;
	int result = bundle_config(&o, &config, e);

	channel_mounts_free(mounts, mount_count);
	if (result == 0)
		result = gpus_into(r, config, e);
	if (result == 0)
		result = put_config(b, config, e);
	json_decref(config);
	return result;
}

int box_bundle(struct box *b, char **env, struct err *e)
{
	_cleanup_free_ char *rootfs = strf(RUN_WORK "/%srootfs", b->path);

	if (bundle_preflight(rootfs, (const char *const *)b->args, (const char *const *)env, b->image.working_dir, e) <
	    0)
		return -1;
	return write_bundle(b, rootfs, env, e);
}

int box_begin(struct box *b, void (*ended)(struct box *b), bool start, pid_t *ret_pid, struct err *e)
{
	_cleanup_free_ char *bundle = strf(RUN_WORK "/%sbundle", b->path), *id = box_id(b);
	_cleanup_close_ int out = -EBADF, err_fd = -EBADF;
	struct run *r = b->run;
	struct runtime_order o = { RUN_WORK "/runtime", bundle, id, -1, -1 };

	if (output_open(b, ended, &out, &err_fd, e) < 0)
		return -1;
	o.out_fd = out;
	o.err_fd = err_fd;
	if (!r->container_made)
		r->container_started = mono_now();
	r->container_made = true;
	return start ? runtime_run(&r->runtime, &o, ret_pid, e) : runtime_create(&r->runtime, &o, ret_pid, e);
}

int box_start(struct box *b, struct err *e)
{
	_cleanup_free_ char *bundle = strf(RUN_WORK "/%sbundle", b->path), *id = box_id(b);
	struct runtime_order o = { RUN_WORK "/runtime", bundle, id, -1, -1 };

	return runtime_start(&b->run->runtime, &o, e);
}

/* ---- of a training job ---- */

/* The only host of a job starts at once. Of several each has its container made before it says that it is ready, so
 * that all of them start within a moment, and what cannot be started is known before any has. */
static int make(struct run *r, struct err *e)
{
	bool alone = r->spec.host_count == 1;

	if (box_begin(&r->box[0], training_output_ended, alone, &r->pid, e) < 0)
		return -1;
	r->outcome.started = alone;
	return 0;
}

enum step phase_container(struct run *r, struct err *e)
{
	struct box *b = &r->box[0];
	char **env = environment_of(&r->spec, &b->image, r->network_interface, r->credentials_url);
	int result = -1;

	b->args = program_of(r);
	b->network_ns = r->network_ns;
	if (box_find_runtime(r, e) == 0 && box_bundle(b, env, e) == 0)
		result = feeders_look(r) ? -1 : make(r, e);
	strv_free(env);
	if (result < 0 && feeders_look(r)) /* what is mounted from it cannot be used any more, which is no news then */
		*e = *feeders_failure(r);
	return result < 0 ? STEP_FAIL : STEP_NEXT;
}

enum step phase_start(struct run *r, struct err *e)
{
	if (r->outcome.started)
		return STEP_NEXT;
	if (feeders_look(r)) { /* while the others were waited for */
		*e = *feeders_failure(r);
		return STEP_FAIL;
	}
	r->container_started = mono_now();
	if (box_start(&r->box[0], e) < 0)
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
	for (size_t i = 0; i < r->box_count; i++)
		output_close(take_ptr(r->box[i].output));
}
