/* launcher.h - a way to have bloomery-job run for a job whose directory is ready, to follow it and to end it.
 *
 * The job directory and spec.json are all a supervisor needs. There are two: `local`, through bloomery-host of this
 * machine, and `hand`, where somebody else starts bloomery-job on whatever machine (desk.h). Everything happens on the
 * loop's thread. Requests never fail and never block: one that cannot be handed over now is dropped, and on_up says
 * when to ask for everything again. All requests may be repeated (jobdir/hostlink.h says what each means).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/jobdir.h"
#include "loop/loop.h"

/* What a launcher tells its owner, always from the loop. */
struct launcher_events {
	void (*on_up)(void *arg);                                        /* it can be talked to from now on */
	void (*on_fact)(void *arg, struct str id, const struct fact *f); /* kind FACT_COUNT: one we do not know */
	/* at: when it was seen to be gone */
	void (*on_lost)(void *arg, struct str id, struct str reason, struct wall at);
	/* By what the hosts' traffic could be encrypted there, in the words of net/seal.h; may be NULL */
	void (*on_sealing)(void *arg, struct str name);
	/* What was asked for by this number: digest, or why there is none (the other is empty); may be NULL */
	void (*on_digest)(void *arg, int64_t n, struct str digest, struct str error);
	/* What the scan of an image has found; reason says why it has not passed; may be NULL */
	void (*on_scan)(void *arg, struct str image, bool passed, struct str reason);
	/* The same of a look into an image: report (borrowed), or NULL and why there is none; may be NULL */
	void (*on_report)(void *arg, int64_t n, json_t *report, struct str error);
};

/* All borrowed, for the launcher's life. */
struct launcher_options {
	struct loop *loop;
	const char *data_dir;
	struct desk *desk; /* hand */
	const struct launcher_events *events;
	void *arg; /* of the events */
};

struct launcher; /* each has its own */
struct launcher_ops {
	const char *name;
	/* Tries to connect from the loop, and again for ever. */
	struct launcher *(*open)(const struct launcher_options *o);
	void (*close)(struct launcher *l); /* NULL is fine; running jobs are left alone */
	void (*launch)(struct launcher *l, const char *id);
	void (*watch)(struct launcher *l, const char *id, uint64_t after);
	void (*stop)(struct launcher *l, const char *id, const char *why); /* NULL: asked for; "peer" */
	void (*go)(struct launcher *l, const char *id);
	void (*forget)(struct launcher *l, const char *id);
	void (*remove)(struct launcher *l, const char *id);
	/* Has the image put into the directory, for somebody else to fetch; local only. */
	void (*pack)(struct launcher *l, const char *id, const char *image);
	/* Asks the image's registry what the name means, under a number of the caller's; local only. */
	void (*digest)(struct launcher *l, int64_t n, const char *image);
	/* Has the image scanned (oci/scan.h), and pulled for that when it is not there. */
	void (*scan)(struct launcher *l, const char *image);
	/* Has an image looked into: the members of the order are those of hostlink.h's "check"; local only. */
	void (*check)(struct launcher *l, int64_t n, const json_t *order);
};
extern const struct launcher_ops launcher_local, launcher_hand;
