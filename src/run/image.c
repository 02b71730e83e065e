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

static int not_found(const struct run *r, struct err *e)
{
	struct buf names = { 0 };

	image_reference_each(str_of(r->spec.image), add_name, &names);
	err_set(e, ERR_CLIENT,
	        "%s TrainingImage %s is not in the local image store (looked for: %s), and its name has no registry to "
	        "pull it from. Import it with `bloomery image import %s FILE|DIR`; `bloomery image list` shows what is "
	        "there.",
	        cannot_pull, r->spec.image, names.n ? names.p : "nothing", r->spec.image);
	buf_fini(&names);
	return -1;
}

/* `said`: bloomery-image's standard error; its last line is a sentence, mostly with the service's words in it. */
static int pull_failed(const struct run *r, struct str said, struct err *e)
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
	               ARGstr(last), r->spec.image);
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
static int find_and_hold(struct run *r, struct err *e)
{
	_cleanup_free_ char *dir = images_dir(r);

	for (int i = 0; i < HOLD_TRIES; i++) {
		if (image_find(dir, str_of(r->spec.image), &r->image, e) < 0)
			return -1;
		r->image_fd = image_hold(&r->image, e);
		if (r->image_fd >= 0)
			return 0;
		image_fini(&r->image);
		r->image = (struct image){ 0 };
		if (e->kind != ERR_NOT_FOUND) /* else it was removed in between */
			return -1;
	}
	return -1;
}

static int found(struct run *r, struct err *e)
{
	return check_architecture(&r->image, e) < 0
	               ? -1
	               : run_fact(r, FACT_IMAGE,
	                          json_pack("{s:s, s:s}", "image", r->spec.image, "digest", r->image.digest), e);
}

/* ---- pulled ---- */

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
	struct err e = { 0 };
	struct buf said = { 0 };
	int result = 0;

	loop_source_free(take_ptr(r->pull));
	r->pull_pid = 0;
	if (file_read_at(r->work_fd, "pull.log", PULL_SAID_MAX, &said, NULL) < 0)
		buf_reset(&said);
	if (code == CLD_EXITED && status == 0) {
		pass_on(r, buf_view(&said));
		result = find_and_hold(r, &e);
		if (result == 0)
			result = found(r, &e);
	} else {
		result = pull_failed(r, buf_view(&said), &e);
	}
	buf_fini(&said);
	if (result < 0)
		run_failed(r, &e);
	else
		run_next(r);
}

/* TrainingImageConfig: by which name bloomery.conf has the credentials for the image's registry. */
static const char *provider_of(const struct run *r)
{
	const json_t *config = json_object_get(json_object_get(r->spec.request, "AlgorithmSpecification"),
	                                       "TrainingImageConfig");

	return json_string_value(json_object_get(json_object_get(config, "TrainingRepositoryAuthConfig"),
	                                         "TrainingRepositoryCredentialsProviderArn"));
}

static int pull(struct run *r, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-image", r->programs_dir), *images = images_dir(r);
	_cleanup_free_ char *fd = strf("%d", r->options.conf_fd);
	const char *argv[16] = { program, "--images", images, "--quiet", "pull" }, *provider = provider_of(r);
	bool has_conf = r->options.conf_fd > 0;
	_cleanup_close_ int log = openat(r->work_fd, "pull.log", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
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
	argv[n] = r->spec.image;
	run_say(r, "Pulling the image %s.", r->spec.image);
	if (spawn(&o, &r->pull_pid, e) < 0)
		return -1;
	r->pull = loop_process(r->loop, r->pull_pid, true, on_pulled, r);
	return r->pull ? 0 : err_sys(e, "watching bloomery-image");
}

enum step phase_image(struct run *r, struct err *e)
{
	if (find_and_hold(r, e) == 0)
		return found(r, e) < 0 ? STEP_FAIL : STEP_NEXT;
	if (e->kind != ERR_NOT_FOUND)
		return STEP_FAIL;
	*e = (struct err){ 0 };
	if (!image_reference_pullable(str_of(r->spec.image))) {
		not_found(r, e);
		return STEP_FAIL;
	}
	return pull(r, e) < 0 ? STEP_FAIL : STEP_WAIT;
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
	cleanup_closep(&r->image_fd);
	r->image_fd = -EBADF;
}
