/* iam.h - who may do what: the roles of bloomery.conf, and the credentials of sessions that act in a role.
 *
 * bloomeryd has one struct iam. The server's own key is not known here: it may everything. A session is what a training
 * job's container has (or who called AssumeRole): an access key id, a secret and a token, as AWS has them. Nothing of a
 * session is kept: the token says who it is and until when, under a MAC; the id and the secret follow from it and from
 * the server's key, which is in <data>/session-key (0600). So sessions outlive bloomeryd, and end with that file.
 *
 *   role.<arn> = FILE        that role may what the policy says (policy.h)
 *   default_role_policy      a policy for roles that have none; without it they may everything but
 *                              - what is below another job's S3OutputPath/<job>/, unless the job's own request names
 *                                it, and who created the job might too
 *                              - DeleteTrainingJob, which would make such an output nobody's
 *                              - to pass or to take on a role that bloomery.conf does name
 *   roles = strict           a role that bloomery.conf does not name is none
 *
 * Constant once the hooks are set: any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/conf.h"
#include "iam/policy.h"

enum { IAM_ID_BYTES = 21, IAM_SECRET_BYTES = 41, IAM_TOKEN_MAX = 8192 };

struct iam;
/* Reads the policies that c names, and the server's key; makes one at the first start. ERR_INVALID, with the line of
 * bloomery.conf or the place in the policy; ERR_IO. */
int iam_open(const struct conf *c, const char *data_dir, struct iam **ret, struct err *e) must_check;
void iam_close(struct iam *m); /* NULL is fine */
DEFINE_CLEANUP(struct iam, iam_close)

/* What is to be asked of whoever knows the jobs; called on any thread, may read a database. */
struct iam_hooks {
	void *arg;
	/* Whether there is such a job and it has not ended. *ret_name: the caller frees. Cannot know: no. */
	bool (*job_lives)(void *arg, struct str job_id, char **ret_name);
	/* Whether the key (or what begins so) is another job's output than of the one with this id (NULL: of no
	 * job), and is not named by that one's request either. Cannot know: yes. */
	bool (*others_output)(void *arg, const char *job_id, bool reads, struct str bucket, struct str key);
};
void iam_set_hooks(struct iam *m, const struct iam_hooks *hooks); /* copied; before there are threads */

/* ---- roles ---- */

/* False: roles are strict, and bloomery.conf does not name this one. */
bool iam_knows_role(const struct iam *m, struct str role);
/* False: the built-in default is all that limits it. */
bool iam_has_policy(const struct iam *m, struct str role);
/* What a role's policy says; POLICY_ALLOWS for one that has only the built-in default. */
enum policy_verdict iam_ask_role(const struct iam *m, struct str role, struct str action, struct str resource);

/* ---- sessions ---- */

struct iam_session {
	unsigned refs;
	char *role;              /* ARN */
	char *arn;               /* arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION */
	char *session;           /* its last piece: the job's name, or RoleSessionName */
	char *job_id, *job_name; /* NULL: of no job */
	unsigned host;           /* of the job, from 1; 0: of none */
	struct wall expires;
	char id[IAM_ID_BYTES], secret[IAM_SECRET_BYTES], *token;
};
struct iam_session *iam_session_ref(const struct iam_session *s); /* NULL is fine */
void iam_session_unref(struct iam_session *s);                    /* NULL is fine; wipes the secret with the last */
DEFINE_CLEANUP(struct iam_session, iam_session_unref)

struct iam_mint {
	struct str role, session, job_id, job_name; /* job_id, job_name: empty, of no job */
	unsigned host;
	struct wall expires;
};
/* New credentials; every call gives others. ERR_INVALID: a text that can be in no token. */
int iam_mint(const struct iam *m, const struct iam_mint *o, struct iam_session **ret, struct err *e) must_check;

enum iam_token { IAM_TOKEN_GOOD, IAM_TOKEN_FOREIGN, IAM_TOKEN_OVER };
/* Who has this token. IAM_TOKEN_FOREIGN: it is not of this server, or not of that access key, or of a role that is none
 * any more. IAM_TOKEN_OVER: its time is over, or its job has ended. *ret only when it is good. */
enum iam_token iam_session_of(const struct iam *m, struct str access_key, struct str token, struct wall now,
                              struct iam_session **ret);

/* What a session wants to do. */
struct iam_wish {
	struct str action;   /* "s3:GetObject" */
	struct str resource; /* ARN, or "*" where there is none */
	struct str prefix;   /* s3:ListBucket: of what */
};
/* Whether the object is not, so far as is known, another job's output that this one has no business with. */
bool iam_job_may_read(const struct iam *m, const char *job_id, struct str bucket, struct str key);
/* NULL (the server's own key): true. False: *ret_why gets the service's sentence. */
bool iam_may(const struct iam *m, const struct iam_session *s, const struct iam_wish *w, struct buf *ret_why);
/* The sentence: "User: ... is not authorized to perform: ... on resource: ..." and why. who: an ARN. */
void iam_say_denied(const char *who, const struct iam_wish *w, enum policy_verdict why, struct buf *out);

/* ---- tokens of a job's host ---- */

/* What one may do who shows it: HOST all that bloomery-job does for its host; CONTAINER only get the session's
 * credentials, from inside. They are the same each time, and good while the job has not ended. */
enum iam_purpose { IAM_FOR_HOST, IAM_FOR_CONTAINER };
void iam_host_token(const struct iam *m, enum iam_purpose purpose, const char *job_id, unsigned host, struct buf *out);
/* Whose it is, if it is one of this purpose and its job lives; the caller frees the two texts. */
bool iam_host_of(const struct iam *m, enum iam_purpose purpose, struct str token, char **ret_job_id,
                 char **ret_job_name, unsigned *ret_host);
