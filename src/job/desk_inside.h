/* desk_inside.h - what desk.c, desk_files.c and hand.c share; nobody outside includes it.
 *
 * A host is in the table from when it is launched or watched until it has ended or is lost, and that was told.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "job/desk.h"
#include "jobdir/spec.h"
#include "store/store.h"

enum desk_word { DESK_NONE, DESK_GO, DESK_PEER, DESK_STOP }; /* a later one takes the place of an earlier */

struct desk_host {
	struct desk_host *next;
	char id[JOB_ID_BYTES];
	/* from its specification, constant */
	char *job, *host_name, *image, *bucket, *key; /* key: what those of its artifacts begin with */
	unsigned number, count;
	uint64_t staged_max;
	/* hold the desk's mutex */
	char *address;   /* NULL: nobody has started it */
	int64_t skew_ms; /* to be added to its times to have ours */
	enum desk_word word;
	uint64_t version; /* of its orders; another after each change */
	bool fresh;       /* facts have come */
	bool heard;       /* it has, since the last tick */
	bool wants_image; /* asked for, and not there yet */
	uint64_t staged;  /* bytes that came for staged/ since we started */
	/* the loop's */
	bool watched, over;
	uint64_t after, offset; /* of the watch */
	unsigned watches;       /* counts them */
	int64_t silent_ms;
};

struct desk {
	char *data_dir;
	int64_t patience_ms;
	pthread_mutex_t news_mu; /* held while news() runs, and to touch the two */
	void (*news)(void *arg, const char *id);
	void *news_arg;
	struct launcher *hand; /* the loop's; NULL: not open */
	struct loop *loop;     /* of the launcher, while it is open */
	struct {
		pthread_mutex_t mu;
		struct desk_host *hosts;
		bool complete; /* every host that is placed has its row: not yet so when we have just started */
	} shared;
};

void desk_lock(struct desk *d);
void desk_unlock(struct desk *d);
struct desk_host *desk_find_locked(struct desk *d, const char *id);
/* A free version number, greater than those before. */
uint64_t desk_version(uint64_t before);
void desk_tell(struct desk *d, const char *id); /* there is news; nothing may be locked */
void desk_host_free(struct desk_host *h);

/* The host's directory, O_PATH. ERR_NOT_FOUND. */
int desk_dir(const struct desk *d, const char *id, struct err *e) must_check;
bool desk_has(int dir, const char *leaf);
/* Reads `elsewhere`. false: nobody has begun it, or it cannot be read. */
bool desk_begun(int dir, char **ret_address, char **ret_instance, int64_t *ret_skew_ms);
/* ERR_IN_USE, and why, when the host is not to be heard any more. */
int desk_check_open(int dir, struct err *e) must_check;
/* ERR_BUSY while a row that is missing says nothing. */
int desk_check_complete(struct desk *d, struct err *e) must_check;

/* hand.c, any thread: facts have come, or an image is wanted. */
void hand_look(struct desk *d);
