/* The scan of an image of the store. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/confined.h"
#include "oci/image.h"
#include "oci/scan.h"
#include "oci/scan_others.h"

enum { NAMED_MAX = 3 };
#define REPORT_MAX_BYTES (UINT64_C(64) << 20)

struct scan_job {
	int rootfs, out;
	struct scan_options o;
};

static int scan_child(void *arg, void *result, struct err *e)
{
	struct scan_job *job = arg;
	json_t *report;
	int rc;

	(void)result;
	if (scan_tree(job->rootfs, &job->o, &report, e) < 0)
		return -1;
	rc = json_dumpfd(report, job->out, JSON_COMPACT);
	json_decref(report);
	return rc < 0 ? err_sys(e, "writing what was found") : 0;
}

/* Whether each finding has what is shown of it. */
static bool all_texts(const json_t *findings)
{
	static const char *const members[] = { "severity", "rule", "path", "detail" };
	const json_t *f;
	size_t i;

	json_array_foreach (findings, i, f)
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			if (!json_is_string(json_object_get(f, members[k])))
				return false;
	return json_is_array(findings);
}

/* The child has read a stranger's files: what it says is taken for no more than a text. */
static int read_report(int fd, json_t **ret, struct err *e)
{
	json_error_t why;
	json_t *j;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, "reading what was found");
	j = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_set(e, ERR_IO, "what was found cannot be read: %s", why.text);
	if (!all_texts(json_object_get(j, "findings")) || !json_is_object(json_object_get(j, "counts"))) {
		json_decref(j);
		return err_set(e, ERR_IO, "what was found makes no sense");
	}
	*ret = j;
	return 0;
}

static int scan_rootfs(const char *path, const json_t *config, json_t **ret, struct err *e)
{
	_cleanup_close_ int root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int out = memfd_create("scan", MFD_CLOEXEC);
	struct scan_job job = { root, out, { .config = config, .now = wall_now() } };
	const int keep[] = { root, out };
	const struct confined_options o = { .confine_to = root,
		                            .keep = keep,
		                            .keep_count = ARRAY_LEN(keep),
		                            .file_bytes_max = REPORT_MAX_BYTES,
		                            .only_reads = true,
		                            .doing = "scanning" };
	struct confined child;
	char nothing[1];

	if (root < 0)
		return err_sys(e, "opening the image's files");
	if (out < 0)
		return err_sys(e, "making a file");
	if (confined_start(&o, scan_child, &job, 0, &child, e) < 0 || confined_finish(&child, nothing, e) < 0)
		return -1;
	return read_report(out, ret, e);
}

static json_t *config_of(const struct image *i)
{
	json_t *env = json_array(), *j;

	for (char **v = i->env; *v; v++)
		json_array_append_new(env, json_string(*v));
	j = json_pack("{so ss}", "Env", env, "User", i->user);
	must(j);
	return j;
}

/* ---- whether it passes ---- */

static char *reason_of(const json_t *report, const char *reference)
{
	_cleanup_buf_ struct buf b = { 0 };
	json_int_t high = json_integer_value(json_object_get(json_object_get(report, "counts"), "high"));
	const json_t *f;
	size_t i, n = 0;

	if (!high)
		return NULL;
	buf_f(&b, "%lld finding%s of severity high: ", (long long)high, high == 1 ? "" : "s");
	json_array_foreach (json_object_get(report, "findings"), i, f) {
		const char *path = json_string_value(json_object_get(f, "path"));

		if (n == NAMED_MAX || strcmp(json_string_value(json_object_get(f, "severity")), "high") != 0)
			break;
		buf_f(&b, "%s%s%s%s", n++ ? "; " : "", path, *path ? " " : "",
		      json_string_value(json_object_get(f, "detail")));
	}
	buf_f(&b, "%s; `bloomery image scan %s` shows all", high > NAMED_MAX ? "; and more" : "", reference);
	return buf_take(&b);
}

static int scan_found(const struct image *i, json_t **ret, struct err *e)
{
	json_t *config = config_of(i), *report = NULL;
	_cleanup_free_ char *reason = NULL;
	int rc = scan_rootfs(i->rootfs, config, &report, e);

	json_decref(config);
	if (rc < 0)
		return -1;
	json_object_set_new(report, "scanners", scan_others(i->rootfs, report));
	reason = reason_of(report, i->reference && *i->reference ? i->reference : i->digest);
	json_object_set_new(report, "reference", json_string(i->reference ? i->reference : ""));
	json_object_set_new(report, "digest", json_string(i->digest));
	json_object_set_new(report, "architecture", json_string(i->architecture));
	json_object_set_new(report, "passed", json_boolean(!reason));
	if (reason)
		json_object_set_new(report, "reason", json_string(reason));
	*ret = report;
	return 0;
}

int image_scan(const char *images_dir, struct str name, json_t **ret, struct err *e)
{
	struct image found = { 0 };
	_cleanup_close_ int hold = -EBADF;
	int rc;

	if (image_find(images_dir, name, &found, e) < 0)
		return -1;
	hold = image_hold(&found, e);
	rc = hold < 0 ? -1 : scan_found(&found, ret, e);
	image_fini(&found);
	return rc < 0 ? err_in(e, "scanning the image " PRIstr, ARGstr(name)) : 0;
}
