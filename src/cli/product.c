/* bloomery product: algorithms that go from one site to another. SPDX-License-Identifier: Apache-2.0 */
#include "cli/product.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aws/arn.h"
#include "base/conf.h"
#include "base/fd.h"
#include "cli/commands.h"
#include "http/client.h"
#include "loop/loop.h"
#include "oci/image.h"
#include "oci/import.h"
#include "product/shelf.h"

enum { SAID_MAX = 64 << 10, WORDS_MAX = 1000, ARGS_MAX = 24 };

#define IMAGES "product/"

/* ---- bloomery-image ---- */

static int say_failure(int fd, int status, struct err *e)
{
	_cleanup_free_ char *text = xcalloc(1, SAID_MAX + 1);
	struct str all, line;
	size_t n = 0;

	if (lseek(fd, 0, SEEK_SET) < 0 || fd_read_full(fd, text, SAID_MAX, &n, NULL) < 0)
		n = 0;
	all = str_trim((struct str){ text, n });
	line = str_has_byte(all, '\n') ? str_cut_last(&all, '\n') : all;
	str_skip(&line, STR("bloomery-image: "));
	if (line.n > WORDS_MAX)
		line.n = WORDS_MAX;
	return err_set(e, image_exit_kind(status) == ERR_SYNTAX ? ERR_BUG : ERR_CLIENT, PRIstr,
	               ARGstr(line.n ? line : STR("bloomery-image has ended without a word")));
}

int product_run_image(const struct image_program *p, struct err *e)
{
	_cleanup_free_ char *programs = program_dir(), *program = strf("%s/bloomery-image", programs);
	_cleanup_free_ char *images = strf("%s/images", p->data_dir);
	_cleanup_close_ int said = memfd_create("said", MFD_CLOEXEC);
	const char *argv[ARGS_MAX] = { program, "--images", images };
	struct spawn_options o = { .argv = argv, .in = -1, .out = p->out, .err_fd = said, .die_with_parent = true };
	int status = 0, exited;
	size_t n = 3;

	for (const char *const *arg = p->args; *arg; arg++) {
		must(n < ARGS_MAX - 1);
		argv[n++] = *arg;
	}
	if (said < 0)
		return err_sys(e, "making a file");
	o.keep = &p->keep;
	o.keep_count = p->keep >= 0;
	if (spawn_wait(&o, NULL, 0, &status, e) < 0)
		return -1;
	exited = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	if (p->ret_status)
		*p->ret_status = exited;
	return exited && !p->ret_status ? say_failure(said, exited, e) : 0;
}

char *product_image_name(const char *product, size_t i)
{
	return strf(IMAGES "%s-%zu:latest", product, i);
}

/* "product/NAME-1:latest": NAME, when it is such a name. */
static bool product_of(struct str reference, char **ret)
{
	struct str name = reference;

	if (!str_skip(&name, STR(IMAGES)))
		return false;
	name = str_cut(&name, ':');
	str_cut_last(&name, '-');
	if (!shelf_name_valid(name))
		return false;
	*ret = str_dup(name);
	return true;
}

void product_sweep_images(const char *data_dir, int shelf)
{
	_cleanup_free_ char *images = strf("%s/images", data_dir);
	json_t *list, *row;
	size_t i;

	if (image_list(images, &list, NULL) < 0)
		return;
	json_array_foreach (list, i, row) {
		const char *reference = json_string_value(json_object_get(row, "reference"));
		_cleanup_free_ char *name = NULL;

		if (!reference || !product_of(str_of(reference), &name) ||
		    faccessat(shelf, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		(void)(image_remove(images, str_of(reference), NULL) == 0); /* in use: the next one removes it */
	}
	json_decref(list);
}

/* ---- what all need ---- */

int product_work_new(int shelf, char **ret_name, struct err *e)
{
	unsigned char random[8];
	_cleanup_buf_ struct buf name = { 0 };
	int fd;

	random_bytes(random, sizeof(random));
	buf_z(&name, ".new-");
	buf_hex(&name, random, sizeof(random));
	if (mkdirat(shelf, name.p, 0700) < 0)
		return err_sys(e, "making a directory for the work");
	fd = openat(shelf, name.p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the directory of the work");
	*ret_name = buf_take(&name);
	return fd;
}

char *product_arn(const struct cli_args *a, const char *account, const char *name)
{
	struct conf conf;
	char *arn;

	if (cli_conf(a, cli_data_dir(a), &conf, NULL) < 0) {
		conf_fini(&conf);
		conf_init(&conf);
	}
	arn = arn_make("sagemaker", conf.region, account, "algorithm", str_of(name));
	conf_fini(&conf);
	return arn;
}

int product_tell_server(const struct cli_args *a, const char *product, bool *ret_told, char **ret_refused,
                        struct err *e)
{
	struct access access = { .http = http_client_new() };
	json_t *answer = NULL;
	struct err why = { 0 };
	const char *refused;

	*ret_told = false;
	*ret_refused = NULL;
	if (access_of_data(cli_data_dir(a), &access, &why) == 0 &&
	    access_post(&access, "/bloomery/products", json_object(), &answer, &why) == 0)
		*ret_told = true;
	access_fini(&access);
	if (!*ret_told) { /* none was started there, or none serves now: it will see for itself */
		if (why.kind == ERR_IO || why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return err_in(e, "telling the server of the product");
	}
	refused = json_string_value(json_object_get(json_object_get(answer, "Refused"), product));
	if (refused)
		*ret_refused = xstrdup(refused);
	json_decref(answer);
	return 0;
}

/* ---- list, remove, trust ---- */

struct listing {
	int shelf;
	json_t *list;
	const struct cli_args *args;
};

static int list_one(const char *name, void *arg, struct err *e)
{
	static const char *const members[] = { "name", "algorithm", "seller", "account", "image", "imported_ms" };
	struct listing *l = arg;
	_cleanup_free_ char *arn = NULL;
	json_t *product, *j;

	if (shelf_read(l->shelf, name, &product, e) < 0)
		return -1;
	arn = product_arn(l->args, json_string_value(json_object_get(product, "account")), name);
	j = json_pack("{ss}", "arn", arn);
	must(j);
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		json_object_set(j, members[i], json_object_get(product, members[i]));
	json_decref(product);
	json_array_append_new(l->list, j);
	return 0;
}

static int print_products(const struct cli_args *a, struct err *e)
{
	struct listing l = { .list = json_array(), .args = a };
	_cleanup_close_ int shelf = -EBADF;
	struct err why = { 0 };
	const json_t *p;
	size_t i;

	l.shelf = shelf = shelf_open(cli_data_dir(a), &why);
	if ((shelf < 0 && why.kind != ERR_NOT_FOUND) || (shelf >= 0 && shelf_each(shelf, list_one, &l, &why) < 0)) {
		json_decref(l.list);
		*e = why;
		return -1;
	}
	if (cli_flag(a, "json"))
		print_json(l.list);
	else
		json_array_foreach (l.list, i, p)
			printf("%s  %s, sold by %s\n", json_string_value(json_object_get(p, "arn")),
			       json_string_value(json_object_get(p, "algorithm")),
			       json_string_value(json_object_get(p, "seller")));
	json_decref(l.list);
	return EXIT_DONE;
}

/* An ARN stands for what is behind its last slash. */
static int find(int shelf, const char *given, char **ret, struct err *e)
{
	struct str name = str_of(given);
	_cleanup_free_ char *leaf = NULL;

	if (str_starts(name, STR("arn:")))
		name = str_cut_last(&name, '/');
	leaf = str_dup(name);
	if (!shelf_name_valid(name) || faccessat(shelf, leaf, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, ERR_NOT_FOUND,
		               "there is no product %s here; `bloomery product list` shows those there are", given);
	*ret = take_ptr(leaf);
	return 0;
}

static int remove_product(const struct cli_args *a, struct err *e)
{
	_cleanup_close_ int shelf = shelf_lock(cli_data_dir(a), e);
	_cleanup_free_ char *name = NULL, *old = NULL, *refused = NULL;
	bool told;

	if (shelf < 0 || find(shelf, a->rest[1], &name, e) < 0)
		return -1;
	old = strf(".old-%s", name);
	if (renameat(shelf, name, shelf, old) < 0 || fsync(shelf) < 0)
		return err_sys(e, "taking %s from the shelf", name);
	if (product_tell_server(a, name, &told, &refused, e) < 0)
		return -1;
	product_sweep_images(cli_data_dir(a), shelf);
	return remove_tree(shelf, old, e) < 0 ? -1 : EXIT_DONE;
}

static bool is_fingerprint(const char *text)
{
	unsigned char sum[SHA256_BYTES];
	struct str s = str_of(text);

	return str_skip(&s, STR("sha256:")) && unhex(s, sum, sizeof(sum));
}

static int trust_seller(const struct cli_args *a, struct err *e)
{
	_cleanup_close_ int shelf = -EBADF;

	if (!is_fingerprint(a->rest[1]))
		return err_set(e, ERR_INVALID,
		               "'%s' is no fingerprint; one is sha256: and 64 digits, as `bloomery product "
		               "key` prints at the seller's",
		               a->rest[1]);
	shelf = shelf_lock(cli_data_dir(a), e);
	if (shelf < 0)
		return -1;
	return shelf_trust(shelf, a->rest[1], "added by hand", e) < 0 ? -1 : EXIT_DONE;
}

static int print_key(const struct cli_args *a, struct err *e)
{
	_cleanup_close_ int shelf = shelf_lock(cli_data_dir(a), e);
	_cleanup_(product_key_freep) struct product_key *key = NULL;
	char fingerprint[PRODUCT_FINGERPRINT_BYTES];
	unsigned char public[PRODUCT_KEY_BYTES];

	if (shelf < 0 || product_key_open(shelf, &key, e) < 0)
		return -1;
	product_key_public(key, public);
	product_fingerprint(public, fingerprint);
	puts(fingerprint);
	return EXIT_DONE;
}

static const struct {
	const char *name;
	size_t arguments;
	bool root; /* changes what is root's, or reads its key */
	int (*run)(const struct cli_args *a, struct err *e);
} verbs[] = {
	{ "export", 2, true, product_export }, { "import", 1, true, product_import },
	{ "list", 0, false, print_products },  { "remove", 1, true, remove_product },
	{ "trust", 1, true, trust_seller },    { "key", 0, true, print_key },
};

int command_product(const struct cli_args *a, struct err *e)
{
	size_t n = a->rest_count - 1;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(a->rest[0], verbs[i].name) != 0)
			continue;
		if (n != verbs[i].arguments)
			return err_set(e, ERR_INVALID, "`bloomery product %s` takes %zu argument%s, not %zu",
			               a->rest[0], verbs[i].arguments, verbs[i].arguments == 1 ? "" : "s", n);
		if (verbs[i].root && geteuid() != 0)
			return err_set(e, ERR_DENIED,
			               "products are root's, as images are; run it as root or with sudo");
		umask(022);
		return verbs[i].run(a, e);
	}
	return err_set(e, ERR_INVALID, "there is no `bloomery product %s`", a->rest[0]);
}
