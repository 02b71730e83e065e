/* daemon.h - what bloomeryd needs of its data directory before it can serve: the lock, the folders, the key of the API,
 * and the file that tells others where it listens. Called by cmd/bloomeryd.c once, before there are threads.
 *
 *   lock          flock'ed while a bloomeryd serves the directory; its pid
 *   credentials   {"access_key":"AKIA...","secret_key":"..."}, made at the first start                   0600
 *   endpoint      http://ADDR:PORT, for `bloomery env`; by rename                                        0644
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

/* Takes the directory, and makes it and its folders where they are missing. The lock lasts as long as *ret_lock_fd is
 * open. ERR_IN_USE: another bloomeryd has it, with its pid. */
int daemon_take_directory(const char *data_dir, int *ret_lock_fd, struct err *e) must_check;

/* Reads the key, or makes one. The caller frees with access_key_fini. ERR_INVALID: the file is not ours. */
int daemon_key(const char *data_dir, const char *account, struct access_key *ret, struct err *e) must_check;
void access_key_fini(struct access_key *k);

/* Where to listen: "ADDR:PORT", "[V6]:PORT". *ret_addr (without brackets) is the caller's. ERR_INVALID. */
int daemon_parse_listen(const char *text, char **ret_addr, uint16_t *ret_port, struct err *e) must_check;
/* "ADDR:PORT" with brackets where the address has colons; the caller frees. */
char *daemon_address(const char *addr, uint16_t port);
/* The URL for clients on this machine: an address that means every interface becomes the loopback. The caller frees. */
char *daemon_url(const char *addr, uint16_t port);
int daemon_write_endpoint(const char *data_dir, const char *url, struct err *e) must_check;
