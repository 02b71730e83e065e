/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/command.h"

#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/secret.h"
#include "oci/image.h"
#include "oci/import.h"
#include "oci/inspect.h"
#include "oci/command_scan.h"
#include "oci/scan.h"

enum { LIST_MAX = 128, OPEN_FILES = 8192, LOW_SHOWN = 20 };

struct call {
	struct import_options o;
	const char *as, *config;
	int conf_fd;
	bool json, quiet, pull;
	const char *entrypoint[LIST_MAX + 1], *env[LIST_MAX + 1], *argument[LIST_MAX + 1];
};

static const char usage[] =
        "usage: bloomery-image [--images DIR] [--json] [--quiet] import [options] NAME[:TAG] FILE|DIR|-\n"
        "       bloomery-image [--images DIR] [--json] [--quiet] pull [--as NAME[:TAG]] [options] NAME\n"
        "       bloomery-image [--images DIR] [--json] list\n"
        "       bloomery-image [--images DIR] remove NAME[:TAG]\n"
        "       bloomery-image [--images DIR] [--json] scan [--pull] NAME\n"
        "\n"
        "import takes a root file system (tar, also compressed, or a directory), an OCI layout (directory or tar)\n"
        "or a docker archive; - is standard input. Options of import and pull:\n"
        "  --entrypoint WORD     what to execute instead of the image's ENTRYPOINT; once for each word\n"
        "  --env NAME=VALUE      one more environment variable; once for each\n"
        "  --workdir DIR         instead of the image's WORKDIR\n"
        "  --user USER[:GROUP]   instead of the image's USER\n"
        "  --max-bytes N         refuse what is larger when unpacked (default: nine tenths of the free space)\n"
        "  --config FILE         what bloomery.conf says of registries (default: beside the image store)\n"
        "  --conf-fd FD          the same, from a descriptor\n"
        "  --provider ARN        pull with the credentials that registry_credentials.ARN of bloomery.conf names\n"
        "  --pull                scan: pull it first when it is not there\n"
        "digest NAME, pack NAME FD and check train|serve NAME are for bloomery-host, and import --like FILE "
        "[--own-digest] for bloomery-job and bloomery product: an image on its way to another machine\n"
        "exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 in use, 5 not a valid image or name, 6 cannot be "
        "pulled, 7 scanned and not passed\n";

static int usage_error(const char *what)
{
	fprintf(stderr, "bloomery-image: %s\n%s", what, usage);
	return IMAGE_EXIT_USAGE;
}

static int failed(const struct err *e)
{
	err_print(e, "bloomery-image");
	return image_exit_status(e->kind);
}

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(j);
}

/* A sentence for people, "NAME DIGEST" for pipes, an object for programs. */
static int report(const struct call *c, struct import_result *r, const char *verb)
{
	if (c->json)
		print_json(json_pack("{s:s, s:s, s:s, s:I, s:b, s:I}", "reference", r->reference, "digest", r->digest,
		                     "architecture", r->architecture, "size_bytes", (json_int_t)r->size_bytes, "reused",
		                     (int)r->reused, "nodes_left_out", (json_int_t)r->nodes_left_out));
	else if (!isatty(1))
		printf("%s %s\n", r->reference, r->digest);
	else
		printf("%s %s (%s, %.1f MB, %s)%s\n", verb, r->reference,
		       *r->architecture ? r->architecture : "no programs", (double)r->size_bytes / 1e6, r->digest,
		       r->reused ? ", the same as before" : "");
	if (r->nodes_left_out && !c->json && isatty(1))
		printf("%llu device nodes and sockets were left out; containers get a /dev of their own\n",
		       (unsigned long long)r->nodes_left_out);
	import_result_fini(r);
	return 0;
}

static int do_import(const struct call *c, char **args, int n)
{
	struct import_result r = { 0 };
	struct err e = { 0 };

	if (n != 2)
		return usage_error("import needs a name and a file or directory");
	if (image_import(&c->o, str_of(args[0]), args[1], &r, &e) < 0)
		return failed(&e);
	return report(c, &r, "Imported");
}

/* bloomery.conf in the directory that holds the store. */
static char *beside(const char *images_dir)
{
	struct str data = str_of(images_dir);

	while (str_ends(data, STR("/")))
		data.n--;
	if (!str_has_byte(data, '/'))
		return xstrdup("bloomery.conf");
	str_cut_last(&data, '/');
	return strf(PRIstr "/bloomery.conf", ARGstr(data));
}

static int read_conf(const struct call *c, struct conf *ret, struct err *e)
{
	_cleanup_free_ char *usual = beside(c->o.images_dir);

	if (c->conf_fd > 0)
		return conf_host_read(ret, c->conf_fd, "what bloomery.conf says", e);
	return conf_read_root(ret, c->config ? c->config : usual, e);
}

static int do_pull(const struct call *c, char **args, int n)
{
	struct import_options o = c->o;
	struct import_result r = { 0 };
	struct err e = { 0 };
	struct conf conf;
	int rc;

	if (n != 1)
		return usage_error("pull needs one name");
	conf_init(&conf);
	o.conf = &conf;
	rc = read_conf(c, &conf, &e);
	if (rc == 0)
		rc = image_pull(&o, str_of(args[0]), str_of(c->as), &r, &e);
	conf_fini(&conf);
	return rc < 0 ? failed(&e) : report(c, &r, "Pulled");
}

/* For bloomery-host: only the digest. */
static int do_digest(const struct call *c, char **args, int n)
{
	_cleanup_free_ char *digest = NULL;
	struct import_options o = c->o;
	struct err e = { 0 };
	struct conf conf;
	int rc;

	if (n != 1)
		return usage_error("digest needs one name");
	conf_init(&conf);
	o.conf = &conf;
	rc = read_conf(c, &conf, &e);
	if (rc == 0)
		rc = image_ask_digest(&o, str_of(args[0]), &digest, &e);
	conf_fini(&conf);
	if (rc < 0)
		return failed(&e);
	printf("%s\n", digest);
	return 0;
}

static int do_list(const struct call *c, char **args, int n)
{
	struct err e = { 0 };
	json_t *list, *row;
	size_t i;

	(void)args;
	if (n != 0)
		return usage_error("list takes no arguments");
	if (image_list(c->o.images_dir, &list, &e) < 0)
		return failed(&e);
	if (c->json) {
		print_json(list);
		return 0;
	}
	if (isatty(1) && json_array_size(list))
		printf("%-50s %-8s %10s  %-24s %s\n", "NAME", "ARCH", "MB", "CREATED", "DIGEST");
	json_array_foreach (list, i, row)
		printf("%-50s %-8s %10.1f  %-24s %.19s\n", json_string_value(json_object_get(row, "reference")),
		       json_string_value(json_object_get(row, "architecture")),
		       (double)json_integer_value(json_object_get(row, "size_bytes")) / 1e6,
		       json_string_value(json_object_get(row, "created")),
		       json_string_value(json_object_get(row, "digest")));
	json_decref(list);
	return 0;
}

static int do_remove(const struct call *c, char **args, int n)
{
	struct err e = { 0 };

	if (n != 1)
		return usage_error("remove needs one name");
	return image_remove(c->o.images_dir, str_of(args[0]), &e) < 0 ? failed(&e) : 0;
}

/* For bloomery-host: into the directory that a descriptor of ours is open on. */
static int do_pack(const struct call *c, char **args, int n)
{
	struct err e = { 0 };
	uint64_t fd;

	if (n != 2 || !str_to_u64(str_of(args[1]), &fd) || fd < 3 || fd > 1 << 20)
		return usage_error("pack needs a name and the number of a descriptor");
	return image_pack(c->o.images_dir, str_of(args[0]), (int)fd, &e) < 0 ? failed(&e) : 0;
}

static int pull_first(const struct call *c, const char *name, struct err *e)
{
	struct import_options o = c->o;
	struct import_result r = { 0 };
	struct conf conf;
	int rc;

	conf_init(&conf);
	o.conf = &conf;
	rc = read_conf(c, &conf, e);
	if (rc == 0)
		rc = image_pull(&o, str_of(name), (struct str){ 0 }, &r, e);
	conf_fini(&conf);
	import_result_fini(&r);
	return rc;
}

static int do_scan(const struct call *c, char **args, int n)
{
	struct err e = { 0 };
	json_t *report;
	bool passed;
	int rc;

	if (n != 1)
		return usage_error("scan needs one name");
	rc = image_scan(c->o.images_dir, str_of(args[0]), &report, &e);
	if (rc < 0 && e.kind == ERR_NOT_FOUND && c->pull) {
		e = (struct err){ 0 };
		rc = pull_first(c, args[0], &e);
		if (rc == 0)
			rc = image_scan(c->o.images_dir, str_of(args[0]), &report, &e);
	}
	if (rc < 0)
		return failed(&e);
	passed = json_is_true(json_object_get(report, "passed"));
	if (c->json) {
		print_json(report);
	} else if (c->quiet) { /* bloomery-host's way: one line */
		printf("%s\n", passed ? "passed" : json_string_value(json_object_get(report, "reason")));
		json_decref(report);
	} else {
		scan_print(report, isatty(1) ? LOW_SHOWN : 0);
		json_decref(report);
	}
	return passed ? 0 : IMAGE_EXIT_FINDINGS;
}

/* Of what is not here, whether it can be had. */
static int check_registry(const struct call *c, const char *name, json_t **ret, struct err *e)
{
	_cleanup_free_ char *digest = NULL, *text = NULL;
	struct import_options o = c->o;
	struct err why = { 0 };
	struct conf conf;
	int rc;

	conf_init(&conf);
	o.conf = &conf;
	rc = read_conf(c, &conf, e);
	if (rc == 0) {
		rc = image_ask_digest(&o, str_of(name), &digest, &why);
		text = xcalloc(1, ERR_FRAMES * ERR_FRAME_BYTES);
		*ret = rc == 0 ? json_pack(
		                         "{s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}", "Image", "Digest", digest, "Findings",
		                         "Level", INSPECT_WARNING, "Where", "TrainingImage", "What",
		                         "the image is not here yet; its registry has it, and it is fetched when a job "
		                         "starts. What is in it could not be looked at",
		                         "Do", "fetch it now (`bloomery image pull`) and check again")
		               : json_pack("{s:[{s:s, s:s, s:s, s:s}]}", "Findings", "Level", INSPECT_FAILS_HERE,
		                           "Where", "TrainingImage", "What",
		                           err_text(&why, text, ERR_FRAMES * ERR_FRAME_BYTES), "Do",
		                           "import it (`bloomery image import`), or correct its name");
		must(*ret);
	}
	conf_fini(&conf);
	return rc < 0 && !*ret ? -1 : 0;
}

static json_t *not_here(const char *name)
{
	_cleanup_free_ char *what = strf("there is no image %s on this server, and its name is not one of a registry",
	                                 name);
	json_t *j = json_pack("{s:[{s:s, s:s, s:s, s:s}]}", "Findings", "Level", INSPECT_FAILS_HERE, "Where",
	                      "TrainingImage", "What", what, "Do",
	                      "import it (`bloomery image import`), or correct its name");

	must(j);
	return j;
}

/* For bloomery-host: a report (inspect.h) on standard output, whatever is wrong with the image. */
static int do_check(const struct call *c, char **args, int n)
{
	struct inspect_order o = { .entrypoint = c->entrypoint[0] ? c->entrypoint : NULL,
		                   .arguments = c->argument[0] ? c->argument : NULL,
		                   .env = c->env };
	struct image image;
	json_t *report = NULL;
	struct err e = { 0 };
	int rc;

	if (n != 2 || (strcmp(args[0], "train") != 0 && strcmp(args[0], "serve") != 0))
		return usage_error("check needs `train` or `serve` and a name");
	o.command = args[0];
	rc = image_find(c->o.images_dir, str_of(args[1]), &image, &e);
	if (rc == 0) {
		rc = inspect_image(&image, &o, &report, &e);
		image_fini(&image);
	} else if (e.kind == ERR_NOT_FOUND) {
		rc = 0;
		if (!image_reference_pullable(str_of(args[1])))
			report = not_here(args[1]);
		else
			rc = check_registry(c, args[1], &report, &e);
	}
	if (rc < 0)
		return failed(&e);
	rc = json_dumpf(report, stdout, JSON_COMPACT);
	printf("\n");
	json_decref(report);
	return rc < 0 || fflush(stdout) != 0 ? IMAGE_EXIT_FAILED : 0;
}

static const struct {
	const char *name;
	int (*fn)(const struct call *c, char **args, int n);
} verbs[] = { { "import", do_import }, { "pull", do_pull },     { "list", do_list }, { "remove", do_remove },
	      { "pack", do_pack },     { "digest", do_digest }, { "scan", do_scan }, { "check", do_check } };

enum {
	OPT_IMAGES = 256,
	OPT_JSON,
	OPT_QUIET,
	OPT_AS,
	OPT_ENTRYPOINT,
	OPT_ENV,
	OPT_WORKDIR,
	OPT_USER,
	OPT_MAX,
	OPT_CONFIG,
	OPT_CONF_FD,
	OPT_PROVIDER,
	OPT_LIKE,
	OPT_OWN_DIGEST,
	OPT_PULL,
	OPT_ARGUMENT
};

static bool add(const char **list, const char *text)
{
	size_t n = 0;

	while (list[n])
		n++;
	if (n == LIST_MAX)
		return false;
	list[n] = text;
	return true;
}

static bool set_fd(struct call *c, const char *value)
{
	uint64_t fd;

	if (!str_to_u64(str_of(value), &fd) || fd < 3 || fd > 1 << 20)
		return false;
	c->conf_fd = (int)fd;
	return true;
}

static bool set_option(struct call *c, int option, const char *value)
{
	switch (option) {
	case OPT_IMAGES: c->o.images_dir = value; return true;
	case OPT_JSON: c->json = true; return true;
	case OPT_QUIET: c->quiet = true; return true;
	case OPT_PULL: c->pull = true; return true;
	case OPT_OWN_DIGEST: c->o.own_digest = true; return true;
	case OPT_AS: c->as = value; return true;
	case OPT_ENTRYPOINT: c->o.entrypoint = c->entrypoint; return add(c->entrypoint, value);
	case OPT_ENV: c->o.env = c->env; return strchr(value, '=') && add(c->env, value);
	case OPT_WORKDIR: c->o.working_dir = value; return value[0] == '/';
	case OPT_USER: c->o.user = value; return true;
	case OPT_MAX: return str_to_u64(str_of(value), &c->o.max_bytes) && c->o.max_bytes;
	case OPT_CONFIG: c->config = value; return true;
	case OPT_CONF_FD: return set_fd(c, value);
	case OPT_PROVIDER: c->o.provider = value; return *value;
	case OPT_LIKE: c->o.like = value; return true;
	case OPT_ARGUMENT: return add(c->argument, value);
	default: return false;
	}
}

static bool parse(struct call *c, int argc, char **argv)
{
	static const struct option options[] = {
		{ "images", required_argument, NULL, OPT_IMAGES },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "quiet", no_argument, NULL, OPT_QUIET },
		{ "as", required_argument, NULL, OPT_AS },
		{ "entrypoint", required_argument, NULL, OPT_ENTRYPOINT },
		{ "env", required_argument, NULL, OPT_ENV },
		{ "workdir", required_argument, NULL, OPT_WORKDIR },
		{ "user", required_argument, NULL, OPT_USER },
		{ "max-bytes", required_argument, NULL, OPT_MAX },
		{ "config", required_argument, NULL, OPT_CONFIG },
		{ "conf-fd", required_argument, NULL, OPT_CONF_FD },
		{ "provider", required_argument, NULL, OPT_PROVIDER },
		{ "like", required_argument, NULL, OPT_LIKE },
		{ "own-digest", no_argument, NULL, OPT_OWN_DIGEST },
		{ "pull", no_argument, NULL, OPT_PULL },
		{ "argument", required_argument, NULL, OPT_ARGUMENT },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!set_option(c, option, optarg))
			return false;
	return true;
}

/* Lower, never raise: what we start inherits these. */
static void limit_ourselves(void)
{
	struct rlimit files;

	no_core_dumps_below();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < OPEN_FILES ? files.rlim_max : OPEN_FILES;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* jansson's, in which passwords of registries have been: what parses foreign bytes later is a child of ours. */
static void free_wiped(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

int image_command(int argc, char **argv)
{
	const char *data = getenv("BLOOMERY_DATA");
	_cleanup_free_ char *images = strf("%s/images", data && *data ? data : "/var/lib/bloomery");
	struct call c = { .o.images_dir = images };

	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(usage, stdout);
		return 0;
	}
	umask(022);
	json_set_alloc_funcs(malloc, free_wiped);
	limit_ourselves();
	if (!parse(&c, argc, argv))
		return usage_error("an option is unknown or has no good value");
	if (optind >= argc)
		return usage_error("say what to do");
	c.o.progress = !c.json && !c.quiet && isatty(2);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(argv[optind], verbs[i].name))
			return verbs[i].fn(&c, argv + optind + 1, argc - optind - 1);
	return usage_error("there is no such command");
}
