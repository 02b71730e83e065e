/* store.h - what bloomeryd remembers about jobs: the only module that knows their SQL, or that there is a database.
 *
 *   <data>/bloomery.db      SQLite, WAL, 0600: requests hold users' secrets. Objects have a file of their own (blob/).
 *
 * Threads: functions marked [loop] write; they use the one write connection and are called from bloomeryd's loop thread
 * only (tests: from one thread). The others read, from any thread, each on a connection of a pool, and see a snapshot.
 * Calls block for the length of a few SQLite statements. Everything returned is copied out unless it says view.
 *
 * Errors: ERR_IO means the call had no effect. Other kinds are named at each function.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"
#include "state/state.h"

struct store;
/* Creates or migrates. ERR_INVALID: the file was written by a newer version; nothing was changed. */
int store_open(const char *path, struct store **ret, struct err *e) must_check;
void store_close(struct store *s); /* NULL is fine */
DEFINE_CLEANUP(struct store, store_close)

/* Any thread. A number that every write changes, for who keeps what was read here: what was read after one call and
 * before another that returns the same number is what the store holds for as long as that number is returned. Every
 * number but STORE_CHANGING, which says nothing: a write is being committed just now. It starts anew with the store. */
enum { STORE_CHANGING = 0 };
uint64_t store_version(const struct store *s);

/* ---- jobs, of every kind ---- */

enum { JOB_ID_BYTES = 17 };

/* The row of a job. Times are 0 where they have not come yet, strings NULL. */
struct stored_job {
	int64_t n; /* order of creation; never used twice */
	enum job_kind kind;
	char id[JOB_ID_BYTES];
	char *name, *arn;
	enum job_state state;
	uint64_t last_fact;                                    /* of the supervisor's facts, the last one taken */
	struct wall created, placed, started, ended, modified; /* placed: capacity was reserved; started: data moved */
	double cpus;                                           /* reserved, since placed */
	uint64_t memory_bytes;
	char *needs;                                /* JSON, as given to store_job_insert */
	char *failure_reason, *exit, *image_digest; /* exit: the args of the fact EXITED, JSON */
};
void stored_job_fini(struct stored_job *j);

struct store_tag {
	struct str key, value;
};

struct store_new_job {
	enum job_kind kind;
	const char *id, *name, *arn;
	const char *request;       /* CreateTrainingJob or CreateTransformJob as accepted, defaults filled in; JSON */
	const char *echo;          /* what Describe says of it; opaque to the store */
	const char *needs;         /* what capacity has to know; opaque to the store */
	const char *training_plan; /* for the filter of ListTrainingJobs; NULL: none */
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
	const char (*host_ids)[JOB_ID_BYTES]; /* of several hosts, the first the job's own; else NULL and 0 */
	size_t host_count;
};
/* [loop] The row, its first transition and its tags, in one transaction that is on disk when this returns 0.
 * ERR_IN_USE: a job of that kind and name, compared without case, exists. */
int store_job_insert(struct store *s, const struct store_new_job *j, int64_t *ret_n, struct err *e) must_check;

/* What one of several hosts has come to, with the fact or the loss that says so. Unset members leave the row. */
struct store_host_move {
	unsigned number;
	uint64_t seen, fact; /* of this host's facts: the last taken before, and with this */
	enum host_phase phase;
	const char *result, *failure, *exit, *parts; /* as in struct stored_host */
	struct wall failed;
};
struct store_host_share { /* reserved for a host, in the order of their numbers */
	double cpus;
	uint64_t memory_bytes;
};

/* One change of state, or one fact that changes none (from == to). Unset members leave the row as it is. */
struct store_move {
	int64_t n;
	enum job_state from, to;
	uint64_t seen, fact; /* the last fact taken before and with this; the same when no fact is the cause. Of several
	                      * hosts: how many facts of all of them */
	const struct store_host_move *host;         /* a host of several it comes from; else NULL */
	const struct store_host_share *host_shares; /* with placed, of several hosts; else NULL */
	size_t host_count;
	struct wall at;      /* becomes LastModifiedTime; the start of the transition when there is one */
	const char *message; /* of the transition; NULL: that of the state */
	const char *failure_reason, *exit, *image_digest;
	struct wall placed, started, ended;
	double cpus; /* with placed */
	uint64_t memory_bytes;
	bool forget;  /* the host is to clean up: remembered until store_cleanup_done */
	bool durable; /* on disk when this returns; see store_job_move in job.c for when that matters */
};
/* [loop] Compare and set: ERR_IN_USE, and no effect, unless the row is in state `from` and `seen` is its last fact. The
 * row, the fact's number and the secondary status transitions (contract 5.3) change in one transaction. */
int store_job_move(struct store *s, const struct store_move *m, struct err *e) must_check;
/* [loop] Other texts for a job (UpdateTrainingJob). On disk when it returns. */
int store_job_rewrite(struct store *s, int64_t n, const char *request, const char *echo, struct wall modified,
                      struct err *e) must_check;
/* [loop] Removes the job, its transitions and tags, and remembers that its directory has to go. On disk when it
 * returns. */
int store_job_delete(struct store *s, int64_t n, struct err *e) must_check;

/* [loop] By name without case, from the write connection: what the next write will see. ERR_NOT_FOUND. */
int store_job_find(struct store *s, enum job_kind kind, struct str name, struct stored_job *ret,
                   struct err *e) must_check;
/* [loop] Every job that has not ended, in order of creation. The row is a view. fn's -1 ends it. */
int store_job_each_live(struct store *s, int (*fn)(const struct stored_job *j, void *arg, struct err *e), void *arg,
                        struct err *e) must_check;
/* The row of a host of a job of several. Strings are NULL until they have come. */
struct stored_host {
	unsigned number; /* from 1 */
	char id[JOB_ID_BYTES];
	enum host_phase phase;
	uint64_t last_fact;
	double cpus; /* reserved, since the job was placed */
	uint64_t memory_bytes;
	struct wall failed; /* when its container or its supervisor did, or was told to end by a stop or its time being
	                     * over, which `result` says then; 0: none of it */
	char *failure;      /* the FailureReason that would be a lone host's */
	char *result;       /* of the fact ENDED; before it: "stopped" or "expired" once that is what will end it */
	char *exit;         /* args of the fact EXITED, JSON */
	char *parts;        /* of artifacts that wait for those of the others; JSON, opaque to the store */
};
/* [loop] In order of numbers; none for a job of one host. The row is a view. fn's -1 ends it. */
int store_hosts_each(struct store *s, int64_t n, int (*fn)(const struct stored_host *h, void *arg, struct err *e),
                     void *arg, struct err *e) must_check;
/* The request's text; the caller frees. ERR_NOT_FOUND. */
int store_job_request(struct store *s, int64_t n, char **ret, struct err *e) must_check;

/* ---- Describe ---- */

struct store_transition {
	const char *status;     /* static */
	struct wall start, end; /* end.ms 0: goes on */
	char *message;
};
struct store_description {
	struct stored_job job;
	char *echo;
	struct store_transition *transitions;
	size_t transition_count;
};
/* ERR_NOT_FOUND: no job of that name (compared without case). The caller finishes *ret. */
int store_describe(struct store *s, enum job_kind kind, struct str name, struct store_description *ret,
                   struct err *e) must_check;
void store_description_fini(struct store_description *d);

/* ---- List ---- */

enum store_sort { SORT_CREATION_TIME, SORT_NAME, SORT_STATUS };

struct store_list {
	enum store_sort sort;
	bool descending;
	struct wall created_after, created_before, modified_after, modified_before; /* exclusive; 0: no bound */
	struct str name_contains;                                                   /* empty: any */
	struct str status;                                                          /* TrainingJobStatus; empty: any */
	struct str training_plan;                                                   /* ARN; empty: any */
	unsigned max;                                                               /* entries of a page, >= 1 */
	struct str token; /* of the page before; empty: from the start */
};
struct store_summary { /* a view, valid during the call */
	struct str name, arn, training_plan, failure_reason;
	enum job_state state;
	struct wall created, ended, modified;
};
/* Hands the entries of one page to fn in order. *ret_token: what to ask the next page with (the caller frees), NULL
 * when there is none. Every filter and order is a walk of one index from where the token says.
 * ERR_INVALID: the token is not one of ours, or belongs to other filters. */
int store_job_list(struct store *s, enum job_kind kind, const struct store_list *q,
                   void (*fn)(const struct store_summary *j, void *arg), void *arg, char **ret_token,
                   struct err *e) must_check;

/* Where what a training host leaves lies, its log first of all. A view, valid during the call. */
struct store_place {
	enum job_kind kind;
	struct str name;     /* of the job */
	unsigned host;       /* its number, from 1 */
	const char *id;      /* of its directory */
	struct wall created; /* the job */
};
/* Of a host of a job. name is compared with case. ERR_NOT_FOUND: there is no such job, or host of it. */
int store_job_locate(struct store *s, enum job_kind kind, struct str name, unsigned host, char ret_id[JOB_ID_BYTES],
                     struct wall *ret_created, struct err *e) must_check;
/* Every host of that job, in order; none when there is no such job. name is compared with case. */
int store_job_each_host(struct store *s, enum job_kind kind, struct str name,
                        void (*fn)(const struct store_place *p, void *arg), void *arg, struct err *e) must_check;
/* Every host of every job whose name starts with prefix (with case), in no useful order. */
int store_job_each_name(struct store *s, enum job_kind kind, struct str prefix,
                        void (*fn)(const struct store_place *p, void *arg), void *arg, struct err *e) must_check;

/* What is asked of a job with every request that is made in its name. */
struct store_brief {
	int64_t n;
	enum job_kind kind;
	char id[JOB_ID_BYTES];
	char *name;
	enum job_state state;
};
void store_brief_fini(struct store_brief *b);
/* By id. ERR_NOT_FOUND. The caller finishes *ret. */
int store_job_brief(struct store *s, struct str id, struct store_brief *ret, struct err *e) must_check;
/* By name with case. */
int store_job_brief_named(struct store *s, enum job_kind kind, struct str name, struct store_brief *ret,
                          struct err *e) must_check;
/* By name without case, as ARNs have it. */
int store_job_brief_any_case(struct store *s, enum job_kind kind, struct str name, struct store_brief *ret,
                             struct err *e) must_check;

/* ---- algorithms ---- */

/* The row of an algorithm; strings are never NULL but for those that say so. */
struct stored_algorithm {
	int64_t n; /* order of creation; never used twice, and what is kept for it never changes but for status and what
	              comes with that */
	char *name, *arn;
	char *status; /* AlgorithmStatus */
	struct wall created, modified;
	char *image;   /* what a job runs: by digest, once that is known */
	char *details; /* AlgorithmStatusDetails; JSON */
};
void stored_algorithm_fini(struct stored_algorithm *a);

struct store_new_algorithm {
	const char *name, *arn, *status, *description; /* description NULL: none */
	const char *image, *details;                   /* as in stored_algorithm */
	const char *request;                           /* CreateAlgorithm as accepted; JSON, opaque to the store */
	const char *step;                              /* of its validation; NULL: there is none */
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
};
/* [loop] The row and its tags, on disk when this returns 0. ERR_INVALID: an algorithm of that name, compared without
 * case, exists. */
int store_algorithm_insert(struct store *s, const struct store_new_algorithm *a, int64_t *ret_n,
                           struct err *e) must_check;
/* [loop] Another status: ERR_IN_USE, and no effect, unless it is `from`. image and details NULL: as they were. On disk
 * when it returns. */
int store_algorithm_move(struct store *s, int64_t n, const char *from, const char *to, const char *image,
                         const char *details, struct wall at, struct err *e) must_check;
/* [loop] Removes the algorithm and its tags, unless it is being looked at (Pending, InProgress): ERR_INVALID. On disk
 * when it returns. ERR_NOT_FOUND. */
int store_algorithm_delete(struct store *s, struct str name, struct err *e) must_check;
/* By name without case. ERR_NOT_FOUND. The caller finishes *ret. ret_request: what CreateAlgorithm was given, which the
 * caller frees; may be NULL. */
int store_algorithm_find(struct store *s, struct str name, struct stored_algorithm *ret, char **ret_request,
                         struct err *e) must_check;
struct store_algorithm_summary { /* a view, valid during the call */
	struct str name, arn, description, status;
	struct wall created;
};
/* As store_job_list. */
int store_algorithm_list(struct store *s, const struct store_list *q,
                         void (*fn)(const struct store_algorithm_summary *a, void *arg), void *arg, char **ret_token,
                         struct err *e) must_check;

/* [loop] Those that are Pending, or InProgress because of their image, in order of creation. The strings are views. fn
 * must not write. */
struct store_open_algorithm {
	int64_t n;
	const char *status, *image;
	bool validated; /* when its image is there, its validation begins */
};
int store_algorithm_each_open(struct store *s, void (*fn)(const struct store_open_algorithm *a, void *arg), void *arg,
                              struct err *e) must_check;

/* ---- validations of algorithms (op/validation.h) ---- */

/* The steps that the store knows: that of one that waits for its algorithm's image, the first, and that of one that is
 * over. What is between is op/'s. */
#define VALIDATION_IMAGE "image"
#define VALIDATION_BEGIN "begin"
#define VALIDATION_ENDED "ended"

struct store_validation_move {
	int64_t algorithm;
	const char *from, *to; /* steps */
	const char *name;      /* of what it makes; NULL: as it was */
	const char *status;    /* the algorithm's AlgorithmStatus from now on; NULL: as it was */
	const char *image;     /* by digest, now that it is known; NULL: as it was */
	const char *details;   /* its AlgorithmStatusDetails; NULL: as they were */
	struct wall at;
};
/* [loop] The next step. ERR_IN_USE, and no effect, when it is not in step `from`. On disk when it returns. */
int store_validation_move(struct store *s, const struct store_validation_move *m, struct err *e) must_check;
struct stored_validation { /* a view, valid during the call */
	int64_t algorithm;
	struct str algorithm_name, step, name; /* name empty: nothing is made yet */
};
/* Those between VALIDATION_BEGIN and VALIDATION_ENDED, in order of their algorithms. fn must not write. */
int store_validation_each(struct store *s, void (*fn)(const struct stored_validation *v, void *arg), void *arg,
                          struct err *e) must_check;
/* What the validation of an algorithm made is called, which its job, model and transform job share; the caller frees.
 * ERR_NOT_FOUND: there was none, or it has made nothing. */
int store_validation_name(struct store *s, int64_t algorithm, char **ret, struct err *e) must_check;

/* The texts in which algorithms and models name images, views. fn must not write. */
int store_pins_each(struct store *s, void (*fn)(const char *text, void *arg), void *arg, struct err *e) must_check;

/* ---- models ---- */

/* The row of a model; strings are never NULL. */
struct stored_model {
	int64_t n; /* order of creation; never used twice */
	char *name, *arn;
	struct wall created;
	char *request;    /* CreateModel as accepted, with defaults, as Describe says it; JSON */
	char *containers; /* what runs, in order, where a model package has been looked up: JSON list of objects with
	                   * Name (a pipeline's ContainerHostname or "container-N"), Image (by digest where a package
	                   * says so, else as given), Environment (an object), and where there are such
	                   * ModelDataSource (an S3DataSource: S3Uri, S3DataType, CompressionType) and Provider
	                   * (RepositoryCredentialsProviderArn) */
};
void stored_model_fini(struct stored_model *m);

struct store_new_model {
	const char *name, *arn;
	const char *request, *containers; /* as in stored_model; opaque to the store */
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
};
/* [loop] The row and its tags, on disk when this returns 0. ERR_INVALID, in the service's words: a model of that name,
 * compared without case, exists. */
int store_model_insert(struct store *s, const struct store_new_model *m, int64_t *ret_n, struct err *e) must_check;
/* [loop] Removes the model and its tags. On disk when it returns. ERR_NOT_FOUND. */
int store_model_delete(struct store *s, struct str name, struct err *e) must_check;
/* By name without case. ERR_NOT_FOUND. The caller finishes *ret. */
int store_model_find(struct store *s, struct str name, struct stored_model *ret, struct err *e) must_check;
struct store_model_summary { /* a view, valid during the call */
	struct str name, arn;
	struct wall created;
};
/* As store_job_list; by name or creation. */
int store_model_list(struct store *s, const struct store_list *q,
                     void (*fn)(const struct store_model_summary *m, void *arg), void *arg, char **ret_token,
                     struct err *e) must_check;

/* ---- groups of model packages ---- */

/* The row of a group; strings are never NULL but for description. */
struct stored_group {
	int64_t n;
	char *name, *arn, *description;
	char *created_by; /* ARN of who */
	struct wall created;
};
void stored_group_fini(struct stored_group *g);
struct store_new_group {
	const char *name, *arn, *description, *created_by; /* as in stored_group */
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
};
/* [loop] As store_model_insert. */
int store_group_insert(struct store *s, const struct store_new_group *g, int64_t *ret_n, struct err *e) must_check;
/* [loop] Removes the group and its tags. ERR_CONFLICT: it has packages. ERR_NOT_FOUND. On disk when it returns. */
int store_group_delete(struct store *s, struct str name, struct err *e) must_check;
/* By name without case. ERR_NOT_FOUND. The caller finishes *ret. */
int store_group_find(struct store *s, struct str name, struct stored_group *ret, struct err *e) must_check;
/* As store_job_list; by name or creation. The row is a view; created_by is not read. */
int store_group_list(struct store *s, const struct store_list *q, void (*fn)(const struct stored_group *g, void *arg),
                     void *arg, char **ret_token, struct err *e) must_check;

/* ---- model packages ---- */

/* The row of a package; strings are never NULL but for those that say so. */
struct stored_package {
	int64_t n;
	char *name;       /* its own; of a version its group's */
	unsigned version; /* from 1; 0: it is in no group */
	char *arn;        /* ends in /name or /name/version, in lower case */
	char *status;     /* ModelPackageStatus */
	char *approval;   /* ModelApprovalStatus; NULL: none */
	struct wall created, modified;
	char *created_by, *modified_by; /* ARNs of who; modified_by NULL: nobody has */
	char *request; /* CreateModelPackage as accepted and updated since, as Describe says it; JSON, opaque to the
	                  store */
};
void stored_package_fini(struct stored_package *p);
struct store_new_package {
	const char *name;
	bool versioned; /* name is a group's: it becomes its next version, and `arn` gets /version */
	const char *arn, *status, *approval, *created_by, *request; /* as in stored_package */
	const char *token;                                          /* ClientToken; NULL: none */
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
};
/* [loop] *ret_arn: of the new package, or of that which the same token made before; the caller frees. ERR_INVALID: the
 * name is taken. ERR_NOT_FOUND: there is no such group. ERR_CONFLICT: the token made a package of another name. On disk
 * when it returns 0. */
int store_package_insert(struct store *s, const struct store_new_package *p, char **ret_arn, struct err *e) must_check;
/* [loop] Another approval (NULL: none) and another request. On disk when it returns. */
int store_package_rewrite(struct store *s, int64_t n, const char *approval, const char *request,
                          const char *modified_by, struct wall modified, struct err *e) must_check;
/* [loop] Removes the package and its tags. ERR_NOT_FOUND. On disk when it returns. */
int store_package_delete(struct store *s, struct str arn, struct err *e) must_check;
/* By ARN, in lower case. ERR_NOT_FOUND. The caller finishes *ret. */
int store_package_find(struct store *s, struct str arn, struct stored_package *ret, struct err *e) must_check;
/* [loop] As store_package_find, from the write connection. */
int store_package_find_to_write(struct store *s, struct str arn, struct stored_package *ret, struct err *e) must_check;
enum store_package_kind { PACKAGES_ALL, PACKAGES_UNVERSIONED, PACKAGES_VERSIONED };
struct store_package_filter {
	enum store_package_kind kind;
	struct str group;    /* its name; empty: any */
	struct str approval; /* empty: any */
};
/* As store_job_list; by name or creation. The row is a view, with the request and without who made it. */
int store_package_list(struct store *s, const struct store_list *q, const struct store_package_filter *f,
                       void (*fn)(const struct stored_package *p, void *arg), void *arg, char **ret_token,
                       struct err *e) must_check;
/* ---- numbers ---- */

/* How many jobs of a kind are in each state. Jobs that have ended are counted by their TrainingJobStatus, at the first
 * state that has it (MAX_RUNTIME at STOPPED). */
int store_job_counts(struct store *s, enum job_kind kind, uint64_t ret_counts[JOB_STATE_COUNT],
                     struct err *e) must_check;
/* The hosts of jobs of a kind that have not ended, or ended after that time, the newest jobs first, at most `max` of
 * them. name is a view, id the host's. */
int store_job_each_current(struct store *s, enum job_kind kind, struct wall ended_after, unsigned max,
                           void (*fn)(struct str name, const char *id, void *arg), void *arg, struct err *e) must_check;

/* ---- tags, by ARN ---- */

enum { TAGS_MAX = 50 };
/* [loop] Sets tags, overwriting values. ERR_NOT_FOUND: no such resource. ERR_LIMIT: there would be more than TAGS_MAX.
 * On disk when it returns. */
int store_tags_put(struct store *s, struct str arn, const struct store_tag *tags, size_t count,
                   struct err *e) must_check;
/* [loop] Keys that are not there are fine. ERR_NOT_FOUND: no such resource. */
int store_tags_delete(struct store *s, struct str arn, const struct str *keys, size_t count, struct err *e) must_check;
/* In the order they were added; views. ERR_NOT_FOUND: no such resource. */
int store_tags_each(struct store *s, struct str arn, void (*fn)(struct str key, struct str value, void *arg), void *arg,
                    struct err *e) must_check;

/* ---- directories the host has still to clean up ---- */

/* [loop] remove: the whole directory; else only what the run left in it. */
int store_cleanup_each(struct store *s, void (*fn)(const char *id, bool remove, void *arg), void *arg,
                       struct err *e) must_check;
/* [loop] It is done. */
int store_cleanup_done(struct store *s, const char *id, struct err *e) must_check;
