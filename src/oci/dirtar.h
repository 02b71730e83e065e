/* dirtar.h - a directory as a tar archive whose bytes depend on the directory's content alone.
 *
 * Runs in a child of bloomery-image, so that a directory is imported by the same way as an archive, digest included:
 * names in order, numeric owners, modes, modification times, hard links, `user.` attributes and file capabilities; no
 * access times, no inode numbers. Does not follow symbolic links; a mounted file system inside counts as an empty
 * directory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

/* Both descriptors stay the caller's. */
int dirtar_write(int dirfd, int out, struct err *e) must_check;
