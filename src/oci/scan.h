/* scan.h - what speaks against an image: files that give rights away, settings that let people in, secrets that were
 * left in it, and a list of the packages it is made of.
 *
 * image_scan runs in bloomery-image. What looks at the image's files is a confined child (confined.h) that can read
 * them and write nothing. Findings are sentences with a rule and a severity:
 *
 *     high     lets somebody in or hands a secret out: an image with one does not pass
 *     medium   a setting that should be another one
 *     low      usual in distributions, worth knowing
 *
 * So set-user-id programs are low when a package of the image owns them, and high when nobody knows where they are
 * from.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"
#include "base/str.h"

enum { SCAN_FINDINGS_MAX = 2000 /* told; those beyond are counted */, SCAN_PACKAGES_MAX = 50000 };

struct scan_options {
	const json_t *config; /* image.json; NULL: nothing is said of its settings */
	struct wall now;      /* for how long a distribution is looked after */
	uint64_t max_entries; /* 0: ten million */
};

/* Looks at the tree below rootfs, without following links out of it or crossing into other file systems. *ret, a new
 * reference:
 *   {"os": {"id", "version", "name"}, "files", "bytes",
 *    "packages": {"manager", "count", "list": [{"name", "version", "architecture"}]},
 *    "findings": [{"severity", "rule", "path", "detail"}], "counts": {"high", "medium", "low"}}
 * Names that are not UTF-8 have their bytes as \xNN. ERR_TOO_LARGE: more files than max_entries. */
int scan_tree(int rootfs, const struct scan_options *o, json_t **ret, struct err *e) must_check;

/* Of an image of the store, in a confined child, and by trivy and grype where they are installed. *ret, a new
 * reference: what scan_tree says, and "reference", "digest", "architecture", "scanners", "passed", and "reason" when it
 * has not passed: a sentence that names what is worst. ERR_NOT_FOUND: no such image. */
int image_scan(const char *images_dir, struct str name, json_t **ret, struct err *e) must_check;
