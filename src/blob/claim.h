/* claim.h - which parts are being written in place right now, and which uploads are being completed.
 *
 * Memory only: after a restart nobody writes. The rule that keeps bytes safe: who writes in place took the claim before
 * it read the upload's row, and who completes in place holds completion and found no claims.
 *
 * Thread-safe. Only upload.c and complete.c include this.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/upload.h"

/* False when somebody writes that part, or completes the upload: the part then goes to a file of its own. */
bool claim_take(struct blob_uploads *u, const char *upload, unsigned number);
/* The place of a claimed part. step: P as committed parts tell it, or 0. False when the part does not fit there. */
bool claim_place(struct blob_uploads *u, const char *upload, unsigned number, uint64_t length, uint64_t step,
                 uint64_t *ret_at);
void claim_drop(struct blob_uploads *u, const char *upload, unsigned number);

/* Waits while somebody else completes it, for a minute at most; false when that was not enough. *ret_alone: no part is
 * being written in place, nor will be. */
bool claim_completion(struct blob_uploads *u, const char *upload, bool *ret_alone);
void claim_completed(struct blob_uploads *u, const char *upload);
