/* scan_inside.h - what the files of the scan share; nobody outside includes it.
 *
 * All of it runs in the confined child: nothing here may rely on files of the machine, and everything read is a
 * stranger's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oci/scan.h"

enum { SCAN_TEXT_MAX_BYTES = 64 << 20, SCAN_CONFIG_MAX_BYTES = 1 << 20 };

enum scan_severity { SCAN_HIGH, SCAN_MEDIUM, SCAN_LOW };

/* A set-user-id program, or one with capabilities, until it is known whose it is. */
struct scan_suspect {
	char *path; /* "usr/bin/su" */
	const char *rule;
	char *detail;
	bool owned, writable;
};

struct scan {
	int root;
	const struct scan_options *o;
	json_t *findings, *packages, *os;
	const char *manager; /* NULL: no package database */
	uint64_t files, bytes, entries;
	uint64_t counts[3];
	size_t package_count;
	struct scan_suspect *suspects;
	size_t suspect_count;
	bool can_log_in; /* there is a set-user-id su or login, or an sshd */
};

/* path: without a slash at its start; "": the image as a whole. */
void scan_finding(struct scan *s, enum scan_severity severity, const char *rule, const char *path, const char *fmt, ...)
        printf_like(5, 6);
/* A text of a stranger's for JSON and people: control characters and what is not UTF-8 as \xNN, at most 1000 bytes. The
 * caller frees. */
char *scan_printable(struct str text);
void scan_suspect(struct scan *s, const char *path, const char *rule, bool writable, const char *fmt, ...)
        printf_like(5, 6);

/* ---- scan_files.c: one entry of the tree ---- */
struct stat;
/* dir: where it lies, leaf: its name there. */
void scan_file(struct scan *s, int dir, const char *leaf, const char *path, const struct stat *st);

/* ---- scan_packages.c, scan_rpm.c: the package databases ---- */
void scan_package(struct scan *s, struct str name, struct str version, struct str architecture);
/* Whose package a file is of: marks suspects. path: absolute or not, of one file. */
void scan_owned(struct scan *s, struct str path);
void scan_packages(struct scan *s);
void scan_rpm(struct scan *s);

/* ---- scan_settings.c: accounts, services, the configuration, and how old the distribution is ---- */
void scan_settings(struct scan *s);
