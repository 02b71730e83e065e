/* pull.h - fetching an image from a registry by skopeo, into an OCI layout.
 *
 * Used by import in bloomery-image. Which registries need a login is skopeo's business: it finds `skopeo login`'s and
 * docker's files by HOME and REGISTRY_AUTH_FILE.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* Fetches the canonical reference to a new directory `leaf` of dirfd. insecure: "host:port host ...", without TLS;
 * NULL: none. ERR_CLIENT, beginning with SageMaker's words for it, when it cannot be had; ERR_IO when there is no
 * skopeo. */
int pull_layout(const char *reference, const char *insecure, int dirfd, const char *leaf, struct err *e) must_check;
/* What skopeo's output says in the end, without its time stamps; malloc'd. */
char *pull_reason(struct str output);
