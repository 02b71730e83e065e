/* gpu.h - the GPUs of this machine: which there are, and how a container gets some.
 *
 * Two ways. A GPU whose name is KIND=NAME is described by a CDI file (cdi.h), and what that says is added to the
 * container's configuration. Any other name is an index or a UUID for NVIDIA's older hook, which is added to the
 * configuration as docker does it, and learns from NVIDIA_VISIBLE_DEVICES what to mount.
 *
 * bloomeryd reads the table once at its start; bloomery-job applies what it was given, by name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/conf.h"
#include "gpu/cdi.h"

enum { GPU_NAME_BYTES = 256, GPUS_OF_HOST_MAX = 64 };

struct gpu_table {
	char **name;
	size_t n;
	char **note; /* sentences for the operator: what of bloomery.conf and of the CDI files was not taken */
	size_t notes;
};

/* As `gpus` and `cdi_dirs` of bloomery.conf say:
 *     auto   all that CDI calls nvidia.com/gpu; when there are none, those of NVIDIA's driver if its hook is there
 *     none   none
 *     names  these, separated by blanks. One that CDI does not describe is left out, with a note.
 * Two names of one GPU (nvidia-ctk writes its index and its UUID), and the name `all`, count once. */
void gpu_table_read(const struct conf *c, struct gpu_table *ret);
void gpu_table_fini(struct gpu_table *t);
/* Adds the GPUs that a driver lists in proc_dir (/proc/driver/nvidia/gpus), by UUID. */
void gpu_table_add_driver(struct gpu_table *t, const char *proc_dir);

bool gpu_name_ok(struct str name); /* what may stand in a work order */
/* NVIDIA's hook: absolute path, to be freed; NULL: not installed. */
char *gpu_find_hook(void);

/* Adds a host's GPUs to the container's configuration. The names for the hook are expected in the environment already
 * (gpu_visible). ERR_IO: one is not there any more. */
int gpu_apply(const struct cdi *cdi, const char *const *names, size_t n, json_t *config, struct err *e) must_check;
/* The value of NVIDIA_VISIBLE_DEVICES: "void" without any, "all" of those that CDI adds, else the names for the hook;
 * the caller frees. */
char *gpu_visible(const char *const *names, size_t n);
bool gpu_is_for_hook(const char *const *names, size_t n); /* any of them */
