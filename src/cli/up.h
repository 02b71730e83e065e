/* up.h - the parts of `bloomery up`: whom bloomeryd runs as, the data directory, starting the two daemons.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/str.h"

struct conf;

enum { UP_DEFAULT_UID = 64123 };

/* conf.user (a name or a number), else the user `bloomery`, else UP_DEFAULT_UID. ERR_NOT_FOUND: there is no such user;
 * ERR_DENIED: it is root. */
int up_user(const struct conf *c, uid_t *ret_uid, gid_t *ret_gid, struct err *e) must_check;

/* Whether conf, which was read from path, may name the user: the data directory is bloomeryd's, so a file in it could
 * be of its making, and have the next start run as somebody else. ERR_DENIED when it is not our user's own. */
int up_conf_check(const struct conf *c, const char *path, struct err *e) must_check;

/* Makes the data directory and gives uid what bloomeryd owns in it: the directory, objects/, jobs/ and the files it
 * writes. What supervisors made in job directories, and images, stay root's. Safe to repeat; when the owner is right
 * already, only the top is looked at. *ret_dir: its real path, malloc'd. */
int up_data(const char *data_dir, uid_t uid, gid_t gid, char **ret_dir, struct err *e) must_check;

/* Whether uid can reach dir by itself: every directory above it may be searched. If not, *ret_at is the first that may
 * not, malloc'd. */
bool up_reachable(const char *dir, uid_t uid, gid_t gid, char **ret_at);

/* Forks and executes a daemon, which gets SIGTERM when we die. Standard output and error are ours; ready_fd,
 * fetch_fd, metric_fd and conf_fd survive. */
struct up_daemon {
	const char *const *argv;
	int ready_fd;
	int fetch_fd;    /* bloomery-fetch, for a daemon that may not be able to reach it; -1: none */
	int metric_fd;   /* bloomery-metric, the same */
	int conf_fd;     /* conf_copy's, the same; below 0: none */
	bool as_user;    /* uid, gid, no groups, no capabilities, no new privileges, umask 022; else as we are */
	bool may_search; /* as_user: except CAP_DAC_READ_SEARCH */
	uid_t uid;
	gid_t gid;
};
int up_start(const struct up_daemon *d, pid_t *ret_pid, struct err *e) must_check;
