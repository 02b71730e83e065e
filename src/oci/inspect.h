/* inspect.h - what would go wrong with an image as a container of the service, found without starting anything.
 *
 * Used by `bloomery-image check` (oci/command.c), which bloomery-host runs when bloomeryd is asked for a pre-flight
 * (op/preflight.h). Reads files of the image as root, so every path is resolved within its root (rootfs.h), sizes are
 * limited, and what is read is only looked at.
 *
 * A report is
 *
 *     {"Image": {"Reference", "Digest", "Architecture", "SizeBytes", "User", "WorkingDir", "Entrypoint": [...]},
 *      "Program": {"Arguments": [...], "Path", "Interpreter"},
 *      "Findings": [{"Level", "Where", "What", "Do"}]}
 *
 * with the levels below. "Do" is left out where there is nothing to be done but what "What" implies.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/image.h"

/* How bad: it fails wherever it runs; only on this server; only at AWS; or it goes on, but perhaps not as meant. op/
 * and cli/ have the same words. */
#define INSPECT_FAILS "fails"
#define INSPECT_FAILS_HERE "fails-here"
#define INSPECT_FAILS_ON_AWS "fails-on-aws"
#define INSPECT_WARNING "warning"

struct inspect_order {
	const char *command;                              /* "train" or "serve": the argument a container gets */
	const char *const *entrypoint, *const *arguments; /* of the request; NULL: as without. NULL-terminated */
	const char *const *env;                           /* "K=V" of the request; NULL: none */
};

/* A new reference. Whatever is wrong with the image is in it; ERR_IO when it could not be looked at. */
int inspect_image(const struct image *i, const struct inspect_order *o, json_t **ret, struct err *e) must_check;
