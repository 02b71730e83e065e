/* tree.h - the names of a FastFile channel: a read-only tree of directories and files, made from the frozen list.
 *
 * Made once, before the file system answers; immutable afterwards, so that every function but tree_object() is free of
 * locks and may be called by any thread. Takes about 70 bytes an object and the bytes of its name: the rest of an
 * object's record stays in the list's file and is read when the object is opened for the first time.
 *
 * Nodes are numbers from 0 (the root) on. The order of a directory is that of the list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "channel/feeder.h"

enum { TREE_ROOT = 0 };
#define TREE_NONE UINT32_MAX

struct tree;

/* Reads the list of o (o->list_fd stays the caller's, its offset is the tree's) and takes this host's share of epoch 0.
 * Two keys that are in each other's way and keys that cannot be paths are ERR_CLIENT, in the words of File mode
 * (contract 2.3); a malformed list is ERR_SYNTAX. */
int tree_new(const struct feeder_order *o, struct tree **ret, struct err *e) must_check;
void tree_free(struct tree *t); /* NULL is fine */
DEFINE_CLEANUP(struct tree, tree_free)

/* The node called `name` in directory `parent`, or TREE_NONE. parent may be any number. */
uint32_t tree_lookup(const struct tree *t, uint32_t parent, struct str name);

struct tree_stat {
	bool dir;
	uint64_t size;             /* of a file */
	struct wall modified;      /* of a directory: the newest below it */
	uint32_t entries, subdirs; /* of a directory */
	uint32_t parent;
};
/* False when there is no such node. */
bool tree_stat(const struct tree *t, uint32_t node, struct tree_stat *ret);
struct str tree_name(const struct tree *t, uint32_t node); /* lives as long as the tree; the root's is empty */
/* Entry number i (below tree_stat.entries) of a directory. */
uint32_t tree_entry(const struct tree *t, uint32_t dir, uint32_t i);

/* What to read a file's bytes from. */
struct tree_object {
	char id[65];    /* file of the embedded store; "-": of another S3 */
	char etag[129]; /* for If-Match */
	char key[1025]; /* NUL-terminated; keys with a NUL inside are no paths */
};
/* Any thread; takes a lock. ERR_IO, ERR_SYNTAX: the list has changed since tree_new(). */
int tree_object(struct tree *t, uint32_t file, struct tree_object *ret, struct err *e) must_check;

uint32_t tree_nodes(const struct tree *t);   /* numbers below it are nodes */
uint64_t tree_objects(const struct tree *t); /* of this host's share, and their bytes */
uint64_t tree_bytes(const struct tree *t);
