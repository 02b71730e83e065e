/* outputs.h - the outputs of a transform job's hosts become objects of the embedded store.
 *
 * Runs in the gatherer's thread. A host's supervisor has left them in staged/, with a file that names them, one a line
 * of JSON: {"file": leaf in staged/, "key", "size", "md5"}, and "bucket" where that is another than that of
 * TransformOutput. Taking them twice is fine: the store knows what it has taken before (blob_adopt).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "blob/blob.h"

struct iam; /* iam/iam.h */
struct outputs {
	struct blob_store *blobs;
	const char *data_dir;
	const char *bucket;    /* of TransformOutput */
	const struct iam *iam; /* asked about the keys, for the job; NULL: not, as its creator may everything */
	const char *job_id;
	bool (*stopped)(void *arg); /* asked for often */
	void *arg;
};

/* Those of one host; fact: the args of its OUTPUTS. ERR_CLIENT: for good; a sentence for the FailureReason. ERR_BUSY:
 * ended early. Others: not now. */
int outputs_take(const struct outputs *o, const char *host_id, const json_t *fact, struct err *e) must_check;
