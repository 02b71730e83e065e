/* daemon.h - bloomeryd: daemon_run() is the whole program behind its command line (serve.c); the rest is what it needs
 * of its data directory before it can serve (daemon.c). Called on the main thread, before there are others.
 *
 *   lock          flock'ed while a bloomeryd serves the directory; its pid
 *   credentials   {"access_key":"AKIA...","secret_key":"..."}, made at the first start                   0600
 *   endpoint      http://ADDR:PORT, for `bloomery env`; by rename                                        0644
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

struct daemon_options {
	const char *data, *listen, *config; /* listen, config: NULL, from bloomery.conf, which lies in data */
	int ready_fd;                       /* -1, or gets "ADDR:PORT\n" and is closed when the API is served */
	int config_fd;                      /* -1, or its text, for who may not open it */
	int fetch_fd, metric_fd;            /* open on bloomery-fetch and -metric; -1: they are beside ours */
};
/* Serves until SIGTERM or SIGINT, and then lets go of everything; jobs run on. */
int daemon_run(const struct daemon_options *o, struct err *e) must_check;

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
