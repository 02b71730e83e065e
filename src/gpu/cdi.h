/* cdi.h - devices as the Container Device Interface describes them: files in a few directories that say what has to be
 * added to a container so that it has the device called KIND=NAME, e.g. nvidia.com/gpu=0.
 *
 * Read by bloomeryd, to know which GPUs there are, and by bloomery-job as root, to give a container its own. A file can
 * make root mount and run anything, so the supervisor takes only those that are root's. JSON, and YAML as nvidia-ctk
 * writes it. Of what a file may say everything is done but intelRdt, netDevices and hooks of the kind poststop; a file
 * that has those, or anything that is unknown, is refused as a whole: half a device is none.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

struct cdi_device {
	char *name;          /* "nvidia.com/gpu=0" */
	char *file;          /* where it is described */
	const json_t *edits; /* its containerEdits; owned by spec */
	json_t *spec;        /* the whole file */
	size_t dir;          /* which of the directories; a later one's description wins */
	char *rival;         /* another file of the same directory describes it as well: it cannot be used; else NULL */
};

struct cdi {
	char *dirs;
	struct cdi_device *device; /* in order of their names: 2 before 10, and both before a */
	size_t n;
	char **complaint; /* a sentence for each file that was not taken */
	size_t complaints;
};

/* dirs: absolute, separated by blanks; one that is not there is an empty one. Never fails. */
void cdi_load(const char *dirs, bool roots_only, struct cdi *ret);
void cdi_fini(struct cdi *c);                                            /* zeroed is fine */
const struct cdi_device *cdi_find(const struct cdi *c, struct str name); /* NULL: none */
bool cdi_is_name(struct str name);                                       /* vendor/class=name */

/* Adds the devices to an OCI runtime configuration (an object with "process", "mounts" and "linux"). What a file says
 * for all its devices is added once. ERR_IO: one is not described (any more) or is not on the machine, and what is
 * wrong with the files. The configuration is then of no use. */
int cdi_apply(const struct cdi *c, const char *const *names, size_t n, json_t *config, struct err *e) must_check;

/* edits.c: for cdi.c. ERR_INVALID names the member that is not as it should be. */
int cdi_edits_check(const json_t *edits, const char *where, struct err *e) must_check;
int cdi_edits_apply(const json_t *edits, json_t *config, struct err *e) must_check;
