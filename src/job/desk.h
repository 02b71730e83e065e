/* desk.h - the hosts that somebody else starts (`launcher = hand` of bloomery.conf), as bloomeryd knows them.
 *
 * Such a host has a directory <data>/jobs/<id>/ here like any other, but its supervisor is on another machine and works
 * in one of its own. What it would have written here it sends, and the desk puts it there: journal, log and feeds.json
 * byte by byte the same, artifacts into staged/. From there on everything is as if bloomery-host had started it.
 *
 *   elsewhere    {"address","instance","skew_ms"}: marks such a directory from the start (then it is empty), and tells
 *                who has begun the host; bloomery-host leaves directories with it alone
 *   image.json, image.tar | image.error     the image for it, put there by bloomery-host when it is asked
 *
 * A host is begun by its hello, and by one instance of bloomery-job only. From then on it has to be heard of, or it is
 * lost. What comes with an offset may come again: bytes that are there already are compared and not written twice.
 *
 * bloomeryd has one. The functions here are for any thread; they read and write files, and the journal is on disk when
 * they return. The launcher that comes with it lives on the loop's thread (launcher_hand).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"
#include "job/launcher.h"

struct desk;
struct desk *desk_new(const char *data_dir, int64_t patience_ms);
void desk_free(struct desk *d); /* after the loop, which may still hold work of it; NULL is fine */

/* fn is told that there is something new for a host, which may wait for it; id NULL: who has waited long enough gets
 * an answer. Called on any thread, one at a time. NULL: it is not called any more when this returns. */
void desk_on_news(struct desk *d, void (*fn)(void *arg, const char *id), void *arg);
/* How long a host may be left waiting for news. */
int64_t desk_hold_ms(const struct desk *d);

/* All below, of the host with that (valid) id: ERR_NOT_FOUND: there is no such host here. ERR_IN_USE: it counts as
 * lost, or was stopped before anybody started it. ERR_CONFLICT: it is being run by somebody else. ERR_BUSY: bloomeryd
 * has just been started and does not know all hosts yet; ask again. */

/* Its specification, for whoever starts it; a new reference. ERR_BUSY: the job waits for capacity, or is being
 * prepared. */
int desk_spec(struct desk *d, const char *id, json_t **ret, struct err *e) must_check;

struct desk_hello {
	const char *address, *instance; /* where its peers reach it; a random name of the process */
	struct wall now;                /* its clock */
};
/* *ret: {"journal":BYTES,"log":BYTES}, what is here of them. */
int desk_hello(struct desk *d, const char *id, const struct desk_hello *h, json_t **ret, struct err *e) must_check;

enum desk_file { DESK_JOURNAL, DESK_LOG };
/* Bytes of the file from offset on. *ret_size: how long it is afterwards; nothing was added when it is less than
 * offset. ERR_SYNTAX: no facts, or not the next ones. ERR_DENIED: an artifact that is not of this job. ERR_TOO_LARGE.
 */
int desk_append(struct desk *d, const char *id, enum desk_file which, uint64_t offset, struct str bytes,
                uint64_t *ret_size, struct err *e) must_check;
int desk_feeds(struct desk *d, const char *id, struct str bytes, struct err *e) must_check;

/* An artifact on its way into staged/. */
struct desk_part;
int desk_part_new(struct desk *d, const char *id, struct str leaf, uint64_t size, struct desk_part **ret,
                  struct err *e) must_check;
int desk_part_add(struct desk_part *p, struct str bytes, struct err *e) must_check;
int desk_part_end(struct desk_part *p, struct str md5, struct err *e) must_check; /* on disk, under its name */
void desk_part_free(struct desk_part *p);                                         /* NULL is fine */
DEFINE_CLEANUP(struct desk_part, desk_part_free)

/* A channel's list, open for reading. */
int desk_list(struct desk *d, const char *id, struct str leaf, struct err *e) must_check;
/* The image, open for reading, and *ret_about, its image.json. ERR_BUSY: it is being packed; ask again. ERR_NOT_FOUND:
 * it is not in the image store here. ERR_INVALID: it cannot be packed. */
int desk_image(struct desk *d, const char *id, json_t **ret_about, struct err *e) must_check;

/* What the host is to do: {"version":N,"order":"none"|"go"|"stop","why":"peer"?,"peers":[{"name","address"}...]?}; the
 * peers once all are known. `seen`: the version it has; false: there is nothing newer. Both count as a sign of life. */
bool desk_has_news(struct desk *d, const char *id, uint64_t seen);
int desk_orders(struct desk *d, const char *id, json_t **ret, struct err *e) must_check;
