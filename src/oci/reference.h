/* reference.h - names of images: "[host[:port]/]path[:tag][@sha256:hex]", checked and brought into one form.
 *
 * Used by the image store for everything that becomes a file name, and by import for everything handed to a registry
 * client. A text that passes reference_parse holds no byte that could be an option, a path step or a shell's business:
 * hosts are letters, digits, '.', '-', ':' and brackets; paths are lower-case words joined by '/', none starting with
 * '.' or '-'. Pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { REFERENCE_MAX_BYTES = 512, REFERENCE_LEAF_MAX_BYTES = 240, DIGEST_HEX_BYTES = 64 };

/* Views into the text that was parsed; empty where the text has no such part. */
struct reference {
	struct str host;   /* "123456789012.dkr.ecr.us-east-1.amazonaws.com", "localhost:5000" */
	struct str path;   /* "library/python"; never empty */
	struct str tag;    /* "3.11" */
	struct str digest; /* 64 hex digits, without "sha256:" */
};

/* ERR_INVALID with the reason for anything that is not a reference. */
int reference_parse(struct str text, struct reference *ret, struct err *e) must_check;
/* "host/path:tag" ("latest" when there is none), or "host/path@sha256:hex" when there is a digest. Caller frees. */
char *reference_text(const struct reference *r);
/* The canonical form of a text. */
int reference_canonical(struct str text, char **ret, struct err *e) must_check;
/* The file name that stands for a canonical name under refs/. Caller frees. */
char *reference_leaf(struct str canonical);
/* Whether host is a registry of the service: <12 digits>.dkr.ecr.<region>.amazonaws.com[.cn]. */
bool reference_host_is_ecr(struct str host);
/* "sha256:" and 64 lower-case hex digits. */
bool digest_valid(struct str s);
