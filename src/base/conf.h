/* conf.h - bloomery.conf: `key = value` lines, '#' comments, unknown keys refused by name. Read once at start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* The keys there are; the reader refuses others with the file and line. Strings are owned by the struct. */
/* clang-format off */
#define CONF_KEYS(X)                                                                                                    \
	/* key             default            meaning                                                               */  \
	X(account,         "000000000000",    "the account id in every ARN")                                           \
	X(region,          "us-east-1",       "the region in every ARN, and the one clients must sign for")            \
	X(listen,          "127.0.0.1:8770",  "address and port of the API")                                           \
	X(user,            "",                "the user bloomeryd runs as; empty: `bloomery` if there is one, else uid 64123") \
	X(s3_endpoint,     "",                "another S3 for channels and artifacts; empty: the embedded store")       \
	X(s3_region,       "us-east-1",       "its region")                                                            \
	X(s3_access_key,   "",                "its key")                                                               \
	X(s3_secret_key,   "",                "its secret")                                                            \
	X(capacity_cpus,   "",                "cpus that jobs may take together; empty: what the machine has")         \
	X(capacity_memory, "",                "bytes that jobs may take together; empty: memory less a reserve")       \
	X(shm_fraction,    "0.5",             "/dev/shm of a container as a share of its memory")                      \
	X(stop_grace_seconds, "120",          "from SIGTERM to SIGKILL when a job is stopped (the service: 120)")       \
	X(registry_insecure, "",              "host:port of registries spoken to without TLS, separated by blanks")
/* clang-format on */

struct conf {
#define X(key, value, meaning) char *key;
	CONF_KEYS(X)
#undef X
};

void conf_init(struct conf *c); /* the defaults */
/* ERR_INVALID with file and line. A missing file is fine and leaves c as it was. */
int conf_read(struct conf *c, const char *path, struct err *e) must_check;
void conf_fini(struct conf *c);
