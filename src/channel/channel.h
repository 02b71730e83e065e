/* channel.h - ways of getting one input channel's data in front of the training container.
 *
 * Runs inside bloomery-job. A mode is one file that exports one `const struct channel_ops`; channel_ops_for() is the
 * list. File is here; Pipe and FastFile come behind the same interface.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

struct channel_env {
	int job_dirfd;              /* <data>/jobs/<id> */
	int objects_dirfd;          /* <data>/objects; -EBADF on a machine without the store */
	int data_dirfd;             /* the host side of /opt/ml/input/data, writable, root-owned */
	const char *fetch_program;  /* path of bloomery-fetch */
	const struct s3_target *s3; /* for PLACE_REMOTE */
	unsigned host_number, host_count;
	void (*say)(void *arg, const char *text); /* a line for the job's log */
	bool (*cancelled)(void *arg);
	void *arg;
};

/* This host's share of the channel. Keys that end in '/' are objects but make no file: linked + copied can be less. */
struct channel_stats {
	uint64_t objects, bytes, linked, copied;
};

struct channel_ops {
	const char *mode; /* as in InputMode */
	/* Before the container exists: make the directory and the `<channel>-manifest` file, place the data (File), or
	 * get ready to (others). What an earlier try left behind is removed first. Failures are ERR_CLIENT with the
	 * service's whole sentence (contract 2.3) where they are the data's fault, ERR_BUSY when cancelled, ERR_IO
	 * else. Nothing is synced: the tree lives no longer than the job. */
	int (*prepare)(const struct channel_spec *ch, const struct channel_env *env, struct channel_stats *ret_stats,
	               struct err *e);
	/* Undo, in any state, twice if asked. Cannot fail. May be NULL. */
	void (*close)(const struct channel_spec *ch, const struct channel_env *env);
};

const struct channel_ops *channel_ops_for(const char *input_mode); /* NULL: no such mode here */

/* The path below the channel's directory for a key (contract 2.3), see s3_rel_path. *ret_rel views key. ERR_CLIENT for
 * "//", "." and ".." pieces, NUL, or a piece over 255 bytes. *ret_dir: the key ends in '/', only a directory is to be
 * made. */
int channel_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e) must_check;
