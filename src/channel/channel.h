/* channel.h - ways of getting one input channel's data in front of the training container.
 *
 * Runs inside bloomery-job. How a channel gets there is told by channel_way(); each way that places something before
 * the container exists is one file that exports one `const struct channel_ops`. What feeds a channel while the
 * container runs is a program of its own, see channel/feeder.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

enum channel_way {
	CHANNEL_PLACED,  /* File: a directory of the job's tree, which the container sees through the overlay */
	CHANNEL_LINKED,  /* FastFile: a farm of links outside of the tree, to be bind-mounted read-only */
	CHANNEL_FUSED,   /* FastFile: bloomery-fuse serves it, to be mounted read-only */
	CHANNEL_PIPED,   /* Pipe: bloomery-fetch writes it into FIFOs of the container's own root */
	CHANNEL_MOUNTED, /* a file system that is bind-mounted */
};
enum channel_way channel_way(const struct channel_spec *ch, const struct job_spec *job);

struct channel_env {
	int job_dirfd;     /* <data>/jobs/<id> */
	int objects_dirfd; /* <data>/objects; -EBADF on a machine without the store */
	int data_dirfd;    /* the host side of /opt/ml/input/data, writable, root-owned */
	int farm_dirfd;    /* CHANNEL_LINKED: where its directory is made; on the store's file system */
	enum channel_way way;
	const char *fetch_program;                /* path of bloomery-fetch */
	const struct s3_target *s3;               /* for PLACE_REMOTE */
	void (*say)(void *arg, const char *text); /* a line for the job's log */
	bool (*cancelled)(void *arg);
	void *arg;
};

/* This host's share of the channel. Keys that end in '/' are objects but make no file: linked + copied can be less. */
struct channel_stats {
	uint64_t objects, bytes, linked, copied;
};

struct channel_ops {
	/* Before the container exists: make the directory and the `<channel>-manifest` file, place the data (File), or
	 * get ready to (others). What an earlier try left behind is removed first. Failures are ERR_CLIENT with the
	 * service's whole sentence (contract 2.3) where they are the data's fault, ERR_BUSY when cancelled, ERR_IO
	 * else. Nothing is synced: the tree lives no longer than the job. */
	int (*prepare)(const struct channel_spec *ch, const struct channel_env *env, struct channel_stats *ret_stats,
	               struct err *e);
	/* Undo, in any state, twice if asked. Cannot fail. May be NULL. */
	void (*close)(const struct channel_spec *ch, const struct channel_env *env);
};

const struct channel_ops *channel_ops_for(enum channel_way way);

/* lists/<n> of the job, open for reading. */
int channel_open_list(const struct channel_spec *ch, int job_dirfd, struct err *e) must_check;

/* How many bytes this host's share of the channel is going to take on the volume. Linked data takes none, data of
 * another S3 is downloaded. env->way is looked at. */
int channel_room(const struct channel_spec *ch, const struct channel_env *env, uint64_t *ret_bytes,
                 struct err *e) must_check;

/* The path below the channel's directory for a key (contract 2.3), see s3_rel_path. *ret_rel views key. ERR_CLIENT for
 * "//", "." and ".." pieces, NUL, or a piece over 255 bytes. *ret_dir: the key ends in '/', only a directory is to be
 * made. */
int channel_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e) must_check;
/* Words its refusal as the service does (contract 2.3). Returns -1. */
int channel_bad_key(const char *bucket, struct str key, const struct err *cause, struct err *e);
/* Whether two keys cannot both be there: their paths are one, or one goes through the file of the other. */
bool channel_collide(struct str a, bool a_dir, struct str b, bool b_dir);
