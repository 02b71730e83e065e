/* mode.h - what the modes of src/channel share. Nobody outside the folder includes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "channel/channel.h"
#include "jobdir/list.h"

extern const struct channel_ops channel_file; /* file.c: placed and linked */
extern const struct channel_ops channel_lazy; /* lazy.c: all that is fed or mounted */

/* Which units (by number, in list order) are this host's in epoch 0: for what has one order only. */
struct share;
struct share *share_new(const struct channel_spec *ch);
void share_free(struct share *s); /* NULL is fine */
DEFINE_CLEANUP(struct share, share_free)
bool share_has(const struct share *s, uint64_t i);

/* ERR_CLIENT: the name cannot be that of a file. */
int channel_name_check(const struct channel_spec *ch, struct err *e) must_check;
/* Makes the empty directory of the channel's name in parent and returns it open; what an earlier try left is removed
 * first. ERR_CLIENT: the name is none, or another channel's. */
int channel_make_dir(const struct channel_spec *ch, int parent, struct err *e) must_check;
/* The same in the input data, and beside it the manifest with its first line (contract 1.3), open behind it. The
 * caller closes both. */
int channel_make(const struct channel_spec *ch, const struct channel_env *env, int *ret_dirfd, int *ret_manifest,
                 struct err *e) must_check;
/* Removes all of it. Cannot fail. */
void channel_remove(const struct channel_spec *ch, const struct channel_env *env);

/* remote.c: File mode for PLACE_REMOTE. */
int channel_prepare_remote(const struct channel_spec *ch, const struct channel_env *env,
                           struct channel_stats *ret_stats, struct err *e) must_check;

/* place.c: links or copies objects into directories, on some threads. A placer belongs to the thread that made it. */
struct placer;
struct placer_options {
	int objects_dirfd;  /* borrowed; objects are <first 2>/<id> below it */
	const char *bucket; /* for sentences */
	unsigned threads;   /* besides the caller's; 0: the caller does all */
	bool (*cancelled)(void *arg);
	void *arg;
};
struct placer *placer_new(const struct placer_options *o);
/* Stops and joins the threads; unfinished work is dropped. NULL is fine. */
void placer_free(struct placer *p);
DEFINE_CLEANUP(struct placer, placer_free)
/* Files that follow go into dirfd, which the placer owns from here on, also on failure. */
void placer_enter(struct placer *p, int dirfd);
/* Makes `leaf` in the directory entered last the object's file, at once or soon. Also returns the failure of earlier
 * ones. ERR_IN_USE: something of that name is there already; see placer_clash(). */
int placer_add(struct placer *p, const struct list_entry *object, struct str leaf, struct err *e) must_check;
/* Waits for everything; the first failure of any. */
int placer_finish(struct placer *p, uint64_t *ret_linked, uint64_t *ret_copied, struct err *e) must_check;
/* The key whose placing failed with ERR_IN_USE; empty if none did. Valid as long as the placer. */
struct str placer_clash(const struct placer *p);
