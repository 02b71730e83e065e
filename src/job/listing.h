/* listing.h - one list of objects as it is written; lists.c's.
 *
 * s3: the S3DataSource that ch is of; fd: of the empty list. ch->objects and bytes are filled in, and of a ManifestFile
 * bucket and prefix. Errors are those of lists_make, without the channel's name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "job/lists.h"

/* fd is the list's from here on, also on failure. */
int listing_embedded(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch,
                     struct err *e) must_check;
/* Of another S3; fd is the caller's. */
int listing_remote(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch, struct err *e) must_check;
/* ERR_BUSY: ended early. */
int listing_check_stop(const struct lists *l, struct err *e) must_check;
