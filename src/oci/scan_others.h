/* scan_others.h - what other scanners of the machine know about an image: trivy and grype, where they are installed.
 *
 * They are large programs that read a stranger's files: each runs as nobody who can read all files, with a time limit,
 * and what it prints is bounded. Their databases are theirs; they are kept in /var/cache/bloomery-scan, when root has
 * made that directory for nobody, else wherever the scanner's own settings say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

/* Adds findings of the rule "vulnerability" to report: high when it is critical and there is a version without it,
 * medium when it is critical or high, else low; and raises its counts. Returns [{"name", "ok", "error", "found"}], new;
 * a scanner that does not work makes no finding. */
json_t *scan_others(const char *rootfs, json_t *report);
/* The same from what a scanner has printed: the format of trivy, or of grype. False when it is neither. For the tests
 * and the fuzzer too. */
bool scan_others_take(struct str text, const char *name, json_t *report, uint64_t *ret_found);
