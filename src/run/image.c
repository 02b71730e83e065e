/* Finding the image, or having it pulled by bloomery-image, which parses what comes from the registry.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"

enum { PULL_SAID_MAX = 1 << 20, HOLD_TRIES = 3 };

static const char cannot_pull[] =
        "Cannot pull algorithm container. Either the image does not exist or its permissions are "
        "incorrect.";

static char *images_dir(const struct run *r)
{
	return strf("%s/images", r->data_dir);
}

/* ---- words ---- */

static bool add_name(void *arg, struct str reference)
{
	struct buf *b = arg;

	buf_f(b, "%s" PRIstr, b->n ? ", " : "", ARGstr(reference));
	return false;
}

static int not_found(const struct box *b, struct err *e)
{
	bool serves = spec_is_transform(&b->run->spec);
	struct buf names = { 0 };

	image_reference_each(str_of(b->image_name), add_name, &names);
	err_set(e, ERR_CLIENT,
	        "%s %s %s is not in the local image store (looked for: %s), and its name has no registry to "
	        "pull it from. Import it with `bloomery image import %s FILE|DIR`; `bloomery image list` shows what is "
	        "there.",
	        cannot_pull, serves ? "Image" : "TrainingImage", b->image_name, names.n ? names.p : "nothing",
	        b->image_name);
	buf_fini(&names);
	return -1;
}

/* `said`: bloomery-image's standard error; its last line is a sentence, mostly with the service's words in it. */
static int pull_failed(const struct box *b, struct str said, struct err *e)
{
	struct str last = str_trim(said);

	if (str_has_byte(last, '\n'))
		last = str_cut_last(&last, '\n');
	str_skip(&last, STR("bloomery-image: "));
	if (last.n == 0)
		last = STR("bloomery-image said nothing");
	if (str_skip(&last, str_of(cannot_pull)))
		last = str_trim(last);
	return err_set(e, ERR_CLIENT, "%s " PRIstr " Or import %s with `bloomery image import`.", cannot_pull,
	               ARGstr(last), b->image_name);
}

static int check_architecture(const struct image *image, struct err *e)
{
	static const struct {
		const char *machine, *oci;
	} names[] = { { "x86_64", "amd64" },
		      { "aarch64", "arm64" },
		      { "ppc64le", "ppc64le" },
		      { "s390x", "s390x" },
		      { "riscv64", "riscv64" } };
	struct utsname u;

	if (!*image->architecture || uname(&u) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(str_of(u.machine), names[i].machine) && !str_is(str_of(image->architecture), names[i].oci))
			return err_set(
			        e, ERR_CLIENT,
			        "the image %s is built for %s, but this machine is %s: build it with `--platform "
			        "linux/%s` and import it again",
			        image->reference, image->architecture, names[i].oci, names[i].oci);
	return 0;
}

/* ---- found ---- */

/* The image, held against removal. */
static int find_and_hold(struct box *b, struct err *e)
{
	_cleanup_free_ char *dir = images_dir(b->run);

	for (int i = 0; i < HOLD_TRIES; i++) {
		if (image_find(dir, str_of(b->image_name), &b->image, e) < 0)
			return -1;
		b->image_fd = image_hold(&b->image, e);
		if (b->image_fd >= 0)
			return 0;
		image_fini(&b->image);
		b->image = (struct image){ 0 };
		if (e->kind != ERR_NOT_FOUND) /* else it was removed in between */
			return -1;
	}
	return -1;
}

static int found(struct box *b, struct err *e)
{
	return check_architecture(&b->image, e) < 0
	               ? -1
	               : run_fact(b->run, FACT_IMAGE,
	                          json_pack("{s:s, s:s}", "image", b->image_name, "digest", b->image.digest), e);
}

/* ---- pulled ---- */

static enum step find_from(struct run *r, size_t at, struct err *e);

/* The mirrors that did not give it. */
static void pass_on(struct run *r, struct str said)
{
	while (said.n) {
		struct str line = str_trim(str_cut(&said, '\n'));

		if (str_skip(&line, STR("bloomery-image: ")))
			run_say(r, "Pulling the image: " PRIstr, ARGstr(line));
	}
}

static void on_pulled(void *arg, int code, int status)
{
	struct run *r = arg;
	struct box *b = &r->box[r->pulling];
	enum step step = STEP_FAIL;
	struct err e = { 0 };
	struct buf said = { 0 };

	loop_source_free(take_ptr(r->pull));
	r->pull_pid = 0;
	if (file_read_at(r->work_fd, "pull.log", PULL_SAID_MAX, &said, NULL) < 0)
		buf_reset(&said);
	if (code == CLD_EXITED && status == 0) {
		pass_on(r, buf_view(&said));
		if (find_and_hold(b, &e) == 0 && found(b, &e) == 0)
			step = find_from(r, r->pulling + 1, &e);
	} else {
		(void)pull_failed(b, buf_view(&said), &e);
	}
	buf_fini(&said);
	if (step == STEP_FAIL)
		run_failed(r, &e);
	else if (step == STEP_NEXT)
		run_next(r);
}

static int pull(struct box *b, struct err *e)
{
	struct run *r = b->run;
	_cleanup_free_ char *program = strf("%s/bloomery-image", r->programs_dir), *images = images_dir(r);
	_cleanup_free_ char *fd = strf("%d", r->options.conf_fd);
	const char *argv[16] = { program, "--images", images, "--quiet", "pull" }, *provider = b->image_provider;
	bool has_conf = r->options.conf_fd > 0;
	_cleanup_close_ int log = openat(r->work_fd, "pull.log", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
	                                 0600);
	struct spawn_options o = {
		.argv = argv,
		.in = -1,
		.out = log,
		.err_fd = log,
		.keep = &r->options.conf_fd,
		.keep_count = has_conf,
		.die_with_parent = true,
		.setsid = true,
	};
	size_t n = 5;

	if (log < 0)
		return err_sys(e, "making pull.log");
	if (has_conf) {
		argv[n++] = "--conf-fd";
		argv[n++] = fd;
	}
	if (provider) {
		argv[n++] = "--provider";
		argv[n++] = provider;
	}
	argv[n++] = "--";
	argv[n] = b->image_name;
	run_say(r, "Pulling the image %s.", b->image_name);
	if (spawn(&o, &r->pull_pid, e) < 0)
		return -1;
	r->pull = loop_process(r->loop, r->pull_pid, true, on_pulled, r);
	return r->pull ? 0 : err_sys(e, "watching bloomery-image");
}

/* The images of this box and those behind it, one after the other. */
static enum step find_from(struct run *r, size_t at, struct err *e)
{
	for (; at < r->box_count; at++) {
		struct box *b = &r->box[at];

		if (r->stop != STOP_NONE)
			return STEP_NEXT; /* to the end */
		if (find_and_hold(b, e) == 0) {
			if (found(b, e) < 0)
				return STEP_FAIL;
			continue;
		}
		if (e->kind != ERR_NOT_FOUND)
			return STEP_FAIL;
		*e = (struct err){ 0 };
		if (!image_reference_pullable(str_of(b->image_name)))
			return not_found(b, e), STEP_FAIL;
		r->pulling = at;
		return pull(b, e) < 0 ? STEP_FAIL : STEP_WAIT;
	}
	return STEP_NEXT;
}

enum step phase_image(struct run *r, struct err *e)
{
	return find_from(r, 0, e);
}

void stop_image(struct run *r)
{
	if (r->pull_pid > 0)
		kill(-r->pull_pid, SIGKILL); /* its session: skopeo and umoci too */
}

void undo_image(struct run *r)
{
	if (r->pull_pid > 0) {
		kill(-r->pull_pid, SIGKILL);
		waitpid(r->pull_pid, NULL, 0);
	}
	r->pull_pid = 0;
	loop_source_free(take_ptr(r->pull));
	for (size_t i = 0; i < r->box_count; i++) {
		cleanup_closep(&r->box[i].image_fd);
		r->box[i].image_fd = -EBADF;
	}
}
