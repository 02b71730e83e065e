/* passthrough.h - reading past bloomery-fuse altogether, where kernel (6.9) and libfuse (3.17) have it: the kernel is
 * given the store's file when an object is opened, and reads from it without asking again.
 *
 * Only for the embedded store. Takes CAP_SYS_ADMIN, which confine_reader() keeps for it then. Without the headers for
 * it every function here is empty and passthrough_built() false. What is read so is not seen: feed_stats have the
 * objects that were opened, and no bytes of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "fuse/fs.h"

bool passthrough_built(void);
struct passthrough;
/* From the init handler: NULL where the kernel has none of it. */
struct passthrough *passthrough_new(struct fuse_conn_info *conn);
void passthrough_free(struct passthrough *p); /* NULL is fine */

/* From open: true with *fi filled in when the file is the kernel's to read. When it is not (p NULL, no capability, a
 * file system below that cannot be stacked on) it is not tried for other files either. */
bool passthrough_open(struct passthrough *p, fuse_req_t req, uint32_t file, struct files *files,
                      struct fuse_file_info *fi);
/* From release, for files that were opened so. */
void passthrough_release(struct passthrough *p, fuse_req_t req, uint32_t file);
/* Whether any file has been opened so. */
bool passthrough_used(struct passthrough *p);

/* Asks for a capability of the kernel's, or does without it, in the way that libfuse of this version wants it. */
void want_capability(struct fuse_conn_info *conn, unsigned flag, bool on);
