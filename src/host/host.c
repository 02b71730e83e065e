/* SPDX-License-Identifier: Apache-2.0 */
#include "host/host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"
#include "net/net.h"
#include "net/refused.h"
#include "net/seal.h"

static int lock_data(struct host *h, struct err *e)
{
	h->lock_fd = open_beneath(h->data_fd, "host.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600, e);
	if (h->lock_fd < 0)
		return -1;
	if (flock(h->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? err_set(e, ERR_IN_USE, "another bloomery-host serves %s", h->options.data_dir)
	                            : err_sys(e, "locking %s/host.lock", h->options.data_dir);
}

/* What was found last time, unless the program has changed since; else a try with an empty container, in a directory
 * that bloomeryd's user cannot touch. That none works is for the operator's log and each job's reason, but nothing to
 * stop here for. */
static void find_runtime(struct host *h)
{
	_cleanup_free_ char *path = strf("%s/runtime.json", h->options.data_dir);
	char scratch[] = "/var/tmp/bloomery-probe.XXXXXX";
	struct err e = { 0 };

	if (runtime_load(path, &h->runtime, &e) == 0)
		return;
	e = (struct err){ 0 };
	if (!mkdtemp(scratch))
		err_sys(&e, "making %s", scratch);
	else if (runtime_probe(scratch, &h->runtime, &e) == 0 && runtime_save(path, &h->runtime, &e) < 0)
		log_err(LOG_WARN, &e, "remembering the container runtime");
	if (!h->runtime.path)
		log_err(LOG_ERROR, &e, "no container runtime works here, so jobs will fail");
	if (remove_tree(AT_FDCWD, scratch, &e) < 0)
		log_err(LOG_WARN, &e, "removing %s", scratch);
}

static int open_directories(struct host *h, struct err *e)
{
	h->data_fd = open(h->options.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->data_fd < 0)
		return err_sys(e, "opening the data directory %s", h->options.data_dir);
	if (lock_data(h, e) < 0)
		return -1;
	h->jobs_fd = open_beneath(h->data_fd, "jobs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, e);
	return h->jobs_fd < 0 ? err_in(e, "%s", h->options.data_dir) : 0;
}

/* Taken once, before anybody else is let in, and sealed: every supervisor gets the same (doc/adr/0014). */
static int read_conf(struct host *h, struct err *e)
{
	_cleanup_free_ char *usual = strf("%s/bloomery.conf", h->options.data_dir);
	_cleanup_close_ int fd = memfd_create("bloomery.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	_cleanup_buf_ struct buf text = { 0 };
	struct conf conf;
	int rc;

	if (fd < 0)
		return err_sys(e, "keeping what hosts are told of bloomery.conf");
	conf_init(&conf);
	rc = conf_read_root(&conf, h->options.config ? h->options.config : usual, e);
	h->networks = rc == 0 && strcmp(conf.network_pool, "none") != 0;
	conf_host_write(&conf, &text);
	conf_fini(&conf);
	if (rc < 0 || fd_write_all(fd, buf_view(&text).p, text.n, e) < 0)
		return -1;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		return err_sys(e, "keeping what hosts are told of bloomery.conf");
	h->conf_fd = take_fd(fd);
	return 0;
}

/* That jobs have to share the machine's network is for the operator's log and each job's, but nothing to stop for. */
static void open_networks(struct host *h)
{
	struct err e = { 0 };
	char text[2048];

	if (!h->networks)
		return;
	if (net_open(&e) == 0) {
		if (net_sweep(NULL, &e) < 0)
			log_err(LOG_WARN, &e, "removing networks that nobody uses");
		return;
	}
	log_err(LOG_WARN, &e,
	        "jobs cannot have networks of their own here, so they share the machine's, and only jobs of "
	        "one host can run");
	h->no_network = xstrdup(err_text(&e, text, sizeof(text)));
}

static void on_signal(void *arg, int signo)
{
	struct host *h = arg;

	log_info("%s: ending; jobs go on", strsignal(signo));
	loop_stop(h->loop);
}

static int start(struct host *h, struct err *e)
{
	h->loop = loop_new();
	if (read_conf(h, e) < 0 || open_directories(h, e) < 0 || follow_open(h, e) < 0)
		return -1;
	if (!loop_signal(h->loop, SIGTERM, on_signal, h) || !loop_signal(h->loop, SIGINT, on_signal, h))
		return err_sys(e, "taking signals");
	find_runtime(h);
	open_networks(h);
	refusals_open(h);
	if (h->networks && !h->no_network)
		h->sealing = (int)net_sealing_probe();
	host_scan(h);
	if (link_open(h, e) < 0)
		return -1;
	return tell_ready(h->options.ready_fd, "ready\n", e);
}

int host_run(const struct host_options *o, struct err *e)
{
	_cleanup_free_ char *programs = program_dir();
	struct host h = { .options = *o,
		          .data_fd = -EBADF,
		          .jobs_fd = -EBADF,
		          .conf_fd = -EBADF,
		          .lock_fd = -EBADF,
		          .listen_fd = -EBADF,
		          .inotify_fd = -EBADF,
		          .packs.said_fd = -EBADF,
		          .daemon.fd = -EBADF };
	int rc;

	h.supervisor = o->supervisor ? xstrdup(o->supervisor) : strf("%s/bloomery-job", programs);
	h.cleaner = o->cleaner ? xstrdup(o->cleaner) : strf("%s/bloomery-host", programs);
	rc = start(&h, e);
	if (rc == 0)
		rc = loop_run(h.loop, e);
	link_close(&h);
	pack_close(&h);
	digest_close(&h);
	look_close(&h);
	while (h.jobs)
		job_free(h.jobs);
	follow_close(&h);
	net_ear_free(h.ear);
	loop_free(h.loop);
	runtime_fini(&h.runtime);
	cleanup_closep(&h.conf_fd);
	cleanup_closep(&h.jobs_fd);
	cleanup_closep(&h.data_fd);
	cleanup_closep(&h.lock_fd);
	free(h.no_network);
	free(h.supervisor);
	free(h.cleaner);
	return rc;
}
