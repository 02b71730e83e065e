/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf_inside.h"
#include "base/fd.h"

enum { CONF_MAX_BYTES = 1 << 20 };

static char **conf_slot(struct conf *c, struct str key)
{
#define X(name, value, meaning) \
	if (str_is(key, #name)) \
		return &c->name;
	CONF_KEYS(X)
#undef X
	return NULL;
}

void conf_init(struct conf *c)
{
	*c = (struct conf){
#define X(name, value, meaning) .name = xstrdup(value),
		CONF_KEYS(X)
#undef X
	};
}

static void file_system_fini(struct conf_file_system *fs)
{
	free(fs->id);
	free(fs->directory);
	free(fs->mount);
}

static void role_fini(struct conf_role *r)
{
	free(r->arn);
	free(r->file);
	free(r->where);
}

void conf_fini(struct conf *c)
{
#define X(name, value, meaning) free(c->name);
	CONF_KEYS(X)
#undef X
	for (size_t i = 0; i < c->file_system_count; i++)
		file_system_fini(&c->file_systems[i]);
	free(c->file_systems);
	for (size_t i = 0; i < c->role_count; i++)
		role_fini(&c->role[i]);
	free(c->role);
	for (size_t i = 0; i < c->registry_count; i++)
		conf_registry_fini(&c->registry[i]);
	free(c->registry);
	for (size_t i = 0; i < c->named_count; i++) {
		free(c->named[i].id);
		free(c->named[i].value);
		free(c->named[i].where);
	}
	free(c->named);
	*c = (struct conf){ 0 };
}

/* ---- file systems ---- */

/* The shape FileSystemId of the model. */
static bool is_file_system_id(struct str id)
{
	if (id.n < 11 || id.n > 21 || !str_skip(&id, STR("fs-")))
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!strchr("0123456789abcdef", id.p[i]) || !id.p[i])
			return false;
	return true;
}

static const char *bad_directory(struct str path)
{
	if (!path.n || path.p[0] != '/')
		return "is not an absolute path";
	if (path.n >= PATH_MAX || str_has_byte(path, 0))
		return "is not a path";
	while (path.n)
		if (str_is(str_cut(&path, '/'), ".."))
			return "has a \"..\" in it";
	return NULL;
}

static const char *bad_command(struct str command)
{
	bool place = false;

	if (!command.n || str_has_byte(command, 0))
		return "has no command";
	for (size_t i = 0; i < command.n; i++) {
		if (command.p[i] != '%')
			continue;
		if (++i == command.n || !strchr("do%", command.p[i]))
			return "has a '%' that is none of %d (where to mount), %o (ro or rw) and %%";
		place |= command.p[i] == 'd';
	}
	return place ? NULL : "has no %d, which stands for where to mount";
}

const struct conf_file_system *conf_file_system(const struct conf *c, struct str id)
{
	for (size_t i = 0; i < c->file_system_count; i++)
		if (str_is(id, c->file_systems[i].id))
			return &c->file_systems[i];
	return NULL;
}

/* "mount" and a blank; a directory begins with '/'. */
static bool skip_mount(struct str *value)
{
	struct str rest = *value;

	if (!str_skip(&rest, STR("mount")) || (rest.n && rest.p[0] != ' ' && rest.p[0] != '\t'))
		return false;
	*value = str_trim(rest);
	return true;
}

static int add_file_system(struct conf *c, struct str id, struct str value, const char *path, int n, struct err *e)
{
	bool command = skip_mount(&value);
	const char *bad = command ? bad_command(value) : bad_directory(value);

	if (!is_file_system_id(id))
		return err_set(e, ERR_INVALID,
		               "%s:%d: '" PRIstr "' is not the id of a file system: \"fs-\" and 8 to 18 of 0-9 and a-f",
		               path, n, ARGstr(id));
	if (conf_file_system(c, id))
		return err_set(e, ERR_INVALID, "%s:%d: file_system." PRIstr " is there twice", path, n, ARGstr(id));
	if (bad)
		return err_set(e, ERR_INVALID,
		               "%s:%d: file_system." PRIstr ": '" PRIstr
		               "' %s. Give an absolute directory, or `mount COMMAND` with %%d",
		               path, n, ARGstr(id), ARGstr(value), bad);
	c->file_systems = xrealloc(c->file_systems, (c->file_system_count + 1) * sizeof(*c->file_systems));
	c->file_systems[c->file_system_count++] = (struct conf_file_system){
		.id = str_dup(id),
		.directory = command ? NULL : str_dup(value),
		.mount = command ? str_dup(value) : NULL,
	};
	return 0;
}

void conf_host_write(const struct conf *c, struct buf *out)
{
	buf_f(out, "cdi_dirs = %s\n", c->cdi_dirs);
	for (size_t i = 0; i < c->file_system_count; i++) {
		const struct conf_file_system *fs = &c->file_systems[i];

		buf_f(out, "file_system.%s = %s%s\n", fs->id, fs->mount ? "mount " : "",
		      fs->mount ? fs->mount : fs->directory);
	}
	conf_registries_write(c, out);
}

static char *fill_in(struct str word, const char *where, bool writable)
{
	struct buf out = { 0 };

	for (size_t i = 0; i < word.n; i++)
		if (word.p[i] != '%')
			buf_c(&out, word.p[i]);
		else if (word.p[++i] == 'd')
			buf_z(&out, where);
		else if (word.p[i] == 'o')
			buf_z(&out, writable ? "rw" : "ro");
		else
			buf_c(&out, '%');
	return buf_take(&out);
}

char **conf_mount_argv(const struct conf_file_system *fs, const char *where, bool writable)
{
	struct str rest = str_trim(str_of(fs->mount));
	char **argv = NULL;
	size_t n = 0;

	while (rest.n) {
		size_t end = strcspn(rest.p, " \t");

		argv = xrealloc(argv, (n + 2) * sizeof(*argv));
		argv[n++] = fill_in((struct str){ rest.p, end }, where, writable);
		argv[n] = NULL;
		rest = str_trim((struct str){ rest.p + end, rest.n - end });
	}
	return argv;
}

void conf_argv_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

/* ---- roles ---- */

/* As the API has it: arn:aws:iam::ACCOUNT:role/NAME, the name perhaps with a path. */
static bool is_role(struct str arn)
{
	struct str rest = arn;

	if (!str_skip(&rest, STR("arn:aws")))
		return false;
	(void)str_cut(&rest, ':'); /* -cn, -us-gov */
	if (!str_skip(&rest, STR("iam::")))
		return false;
	for (size_t digits = 0; digits < 12; digits++, rest.p++, rest.n--)
		if (!rest.n || rest.p[0] < '0' || rest.p[0] > '9')
			return false;
	if (!str_skip(&rest, STR(":role/")) || !rest.n || rest.p[rest.n - 1] == '/')
		return false;
	for (size_t i = 0; i < rest.n; i++)
		if ((unsigned char)rest.p[i] < 0x21 || (unsigned char)rest.p[i] > 0x7e)
			return false;
	return true;
}

/* arn.n == 0: default_role_policy; said again, the later line counts, as for every setting that is no family. */
static struct conf_role *role_slot(struct conf *c, struct str arn)
{
	for (size_t i = 0; i < c->role_count; i++)
		if (arn.n ? c->role[i].arn && str_is(arn, c->role[i].arn) : !c->role[i].arn)
			return &c->role[i];
	return NULL;
}

char *conf_beside(const char *path, struct str file)
{
	struct str dir = str_of(path);

	if (file.p[0] == '/')
		return str_dup(file);
	if (!str_has_byte(dir, '/'))
		return str_dup(file);
	(void)str_cut_last(&dir, '/');
	return strf(PRIstr "/" PRIstr, ARGstr(dir), ARGstr(file));
}

static int add_role(struct conf *c, struct str arn, struct str file, const char *path, int n, struct err *e)
{
	struct conf_role *r = role_slot(c, arn);

	if (arn.n && !is_role(arn))
		return err_set(e, ERR_INVALID,
		               "%s:%d: '" PRIstr "' is not the ARN of a role: arn:aws:iam::000000000000:role/NAME",
		               path, n, ARGstr(arn));
	if (arn.n && r)
		return err_set(e, ERR_INVALID, "%s:%d: role." PRIstr " is there twice", path, n, ARGstr(arn));
	if (arn.n && (!file.n || str_has_byte(file, 0)))
		return err_set(e, ERR_INVALID, "%s:%d: role." PRIstr ": name the file of its policy", path, n,
		               ARGstr(arn));
	if (r) {
		role_fini(r);
		*r = c->role[--c->role_count];
	}
	if (!file.n)
		return 0;
	c->role = xrealloc(c->role, (c->role_count + 1) * sizeof(*c->role));
	c->role[c->role_count++] = (struct conf_role){
		.arn = arn.n ? str_dup(arn) : NULL,
		.file = conf_beside(path, file),
		.where = strf("%s:%d", path, n),
	};
	return 0;
}

/* ---- networks ---- */

const char *const conf_named_key[] = {
	[CONF_NETWORK] = "network.", [CONF_SUBNET] = "subnet.", [CONF_SECURITY_GROUP] = "security_group."
};

const struct conf_named *conf_named(const struct conf *c, enum conf_kind kind, struct str id)
{
	for (size_t i = 0; i < c->named_count; i++)
		if (c->named[i].kind == kind && str_is(id, c->named[i].id))
			return &c->named[i];
	return NULL;
}

static int add_named(struct conf *c, enum conf_kind kind, struct str id, struct str value, const char *path, int n,
                     struct err *e)
{
	bool bad = !id.n || str_has_byte(value, 0);

	for (size_t i = 0; i < id.n; i++)
		bad |= !id.p[i] || !strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", id.p[i]);
	if (bad)
		return err_set(e, ERR_INVALID, "%s:%d: '%s" PRIstr "' is no name of letters, digits and '-'", path, n,
		               conf_named_key[kind], ARGstr(id));
	if (conf_named(c, kind, id))
		return err_set(e, ERR_INVALID, "%s:%d: %s" PRIstr " is there twice", path, n, conf_named_key[kind],
		               ARGstr(id));
	c->named = xrealloc(c->named, (c->named_count + 1) * sizeof(*c->named));
	c->named[c->named_count++] = (struct conf_named){
		.kind = kind, .id = str_dup(id), .value = str_dup(value), .where = strf("%s:%d", path, n)
	};
	return 0;
}

/* ---- reading ---- */

static bool are_absolute(struct str dirs)
{
	bool at_start = true;

	for (size_t i = 0; i < dirs.n; i++) {
		bool blank = dirs.p[i] == ' ' || dirs.p[i] == '\t';

		if (at_start && !blank && dirs.p[i] != '/')
			return false;
		at_start = blank;
	}
	return !str_has_byte(dirs, 0);
}

/* Settings that are not any text. */
static int check_value(const struct conf *c, char *const *slot, struct str value, const char *path, int n,
                       struct err *e)
{
	uint64_t number;

	if (slot == &c->fastfile_links_max && !str_to_u64(value, &number))
		return err_set(e, ERR_INVALID, "%s:%d: fastfile_links_max is a number, not '" PRIstr "'", path, n,
		               ARGstr(value));
	if (slot == &c->output_hosts && !str_is(value, "first") && !str_is(value, "all"))
		return err_set(e, ERR_INVALID, "%s:%d: output_hosts is first or all, not '" PRIstr "'", path, n,
		               ARGstr(value));
	if (slot == &c->gpu_shortage && !str_is(value, "fewer") && !str_is(value, "refuse"))
		return err_set(e, ERR_INVALID, "%s:%d: gpu_shortage is fewer or refuse, not '" PRIstr "'", path, n,
		               ARGstr(value));
	if (slot == &c->cdi_dirs && !are_absolute(value))
		return err_set(e, ERR_INVALID,
		               "%s:%d: cdi_dirs is absolute directories separated by blanks, not '" PRIstr "'", path, n,
		               ARGstr(value));
	if (slot == &c->launcher && !str_is(value, "local") && !str_is(value, "hand"))
		return err_set(e, ERR_INVALID, "%s:%d: launcher is local or hand, not '" PRIstr "'", path, n,
		               ARGstr(value));
	if (slot == &c->host_patience_seconds && (!str_to_u64(value, &number) || number < 3 || number > 86400))
		return err_set(e, ERR_INVALID, "%s:%d: host_patience_seconds is from 3 to 86400, not '" PRIstr "'",
		               path, n, ARGstr(value));
	if (slot == &c->roles && !str_is(value, "open") && !str_is(value, "strict"))
		return err_set(e, ERR_INVALID, "%s:%d: roles is open or strict, not '" PRIstr "'", path, n,
		               ARGstr(value));
	return 0;
}

/* Not more of it: the rest may be a secret. */
static struct str first_word(struct str line)
{
	size_t n = 0;

	while (n < line.n && (unsigned char)line.p[n] > ' ' && !strchr(":{\"", line.p[n]))
		n++;
	return (struct str){ line.p, n };
}

static int conf_line(struct conf *c, struct str line, const char *path, int n, struct err *e)
{
	struct str rest = line, key = str_trim(str_cut(&rest, '=')), value = str_trim(rest), id = key;
	char **slot = conf_slot(c, key);
	int rc;

	if (key.n == line.n)
		return err_set(e, ERR_INVALID, "%s:%d: '" PRIstr "' is not `key = value`", path, n,
		               ARGstr(first_word(line)));
	if (str_skip(&id, STR("file_system.")))
		return add_file_system(c, id, value, path, n, e);
	if (str_skip(&id, STR("role.")))
		return add_role(c, id.n ? id : STR("?"), value, path, n, e);
	if (str_skip(&id, STR("registry_")) && conf_registry_line(c, id, value, path, n, &rc, e))
		return rc;
	for (size_t i = 0; i < ARRAY_LEN(conf_named_key); i++)
		if (str_skip(&id, str_of(conf_named_key[i])))
			return add_named(c, (enum conf_kind)i, id, value, path, n, e);
	if (!slot)
		return err_set(e, ERR_INVALID, "%s:%d: there is no setting '" PRIstr "'", path, n, ARGstr(key));
	if (check_value(c, slot, value, path, n, e) < 0)
		return -1;
	if (slot == &c->default_role_policy && add_role(c, (struct str){ 0 }, value, path, n, e) < 0)
		return -1;
	free(*slot);
	*slot = str_dup(value);
	return 0;
}

static int conf_text(struct conf *c, struct str rest, const char *path, struct err *e)
{
	for (int n = 1; rest.n; n++) {
		struct str line = str_trim(str_cut(&rest, '\n'));

		if (line.n && line.p[0] != '#' && conf_line(c, line, path, n, e) < 0)
			return -1;
	}
	return 0;
}

int conf_read(struct conf *c, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct err probe = { 0 };

	if (file_read(path, CONF_MAX_BYTES, &text, &probe) < 0) {
		if (probe.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = probe;
		return -1;
	}
	return conf_text(c, buf_view(&text), path, e);
}

/* ---- reading as root ---- */

static const char *why_not_roots(int fd, const struct stat *st)
{
	if (fd_is_data(fd))
		return "is an object of the store";
	if (st->st_uid != 0)
		return "is not root's";
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return "can be written by others than root";
	return st->st_nlink != 1 ? "has another name (a hard link)" : NULL;
}

static bool names_files(const struct conf *c)
{
	for (size_t i = 0; i < c->registry_count; i++)
		if (c->registry[i].kind != CONF_REGISTRY_MIRROR)
			return true;
	return false;
}

static bool names_cdi_dirs(const struct conf *c)
{
	struct conf usual;
	bool other;

	conf_init(&usual);
	other = strcmp(c->cdi_dirs, usual.cdi_dirs) != 0;
	conf_fini(&usual);
	return other;
}

/* What is in it that root acts on; NULL: nothing. */
static const char *what_for_root(const struct conf *c)
{
	return c->file_system_count ? "file systems for root to mount"
	       : names_files(c)     ? "files of registries for root to read"
	       : names_cdi_dirs(c)  ? "cdi_dirs, whose files say what root has to do"
	                            : NULL;
}

/* What was looked at is what is read: one descriptor, and a file that is root's does not change under root's feet. */
int conf_read_root(struct conf *c, const char *path, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *same = strf("/proc/self/fd/%d", fd);
	const char *why;
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : err_sys(e, "opening %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at %s", path);
	if (!S_ISREG(st.st_mode))
		return 0;
	if (file_read(same, CONF_MAX_BYTES, &text, e) < 0)
		return err_in(e, "reading %s", path);
	if (conf_text(c, buf_view(&text), path, e) < 0)
		return -1;
	why = why_not_roots(fd, &st);
	if (why && what_for_root(c))
		return err_set(e, ERR_DENIED,
		               "%s names %s, but it %s: make it root's own (chown root, chmod go-w), or keep it "
		               "elsewhere and use --config",
		               path, what_for_root(c), why);
	return 0;
}

/* ---- for who may not open it ---- */

/* Copied after it has been understood: what is not a configuration is handed to nobody. */
int conf_copy(const char *path, int *ret_fd, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), copy = -EBADF;
	_cleanup_free_ char *same = strf("/proc/self/fd/%d", fd);
	_cleanup_buf_ struct buf text = { 0 };
	struct conf c;
	struct stat st;
	int rc;

	*ret_fd = -EBADF;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || why_not_roots(fd, &st))
		return 0;
	buf_need(&text, (size_t)st.st_size + 1);
	if (file_read(same, CONF_MAX_BYTES, &text, e) < 0)
		return err_in(e, "reading %s", path);
	conf_init(&c);
	rc = conf_text(&c, buf_view(&text), path, e);
	conf_fini(&c);
	copy = rc < 0 ? -EBADF : memfd_create("bloomery.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (rc == 0 && copy < 0)
		rc = err_sys(e, "copying %s", path);
	if (rc == 0)
		rc = fd_write_all(copy, text.p, text.n, e);
	explicit_bzero(text.p, text.n);
	if (rc < 0 || lseek(copy, 0, SEEK_SET) < 0)
		return -1;
	*ret_fd = take_fd(copy);
	return 0;
}

int conf_read_copy(struct conf *c, int fd, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	int rc;

	buf_need(&text, CONF_MAX_BYTES);
	if (fd_read_full(fd, text.p, CONF_MAX_BYTES, &text.n, e) < 0)
		return err_in(e, "reading %s", path);
	rc = conf_text(c, buf_view(&text), path, e);
	explicit_bzero(text.p, text.n);
	return rc;
}

int conf_host_read(struct conf *c, int fd, const char *name, struct err *e)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%d", fd);
	_cleanup_buf_ struct buf text = { 0 };
	struct str rest;

	if (file_read(path, CONF_MAX_BYTES, &text, e) < 0)
		return err_in(e, "reading %s", name);
	rest = buf_view(&text);
	for (struct str all = rest; all.n;) {
		struct str line = str_cut(&all, '\n');

		if (!str_starts(line, STR("file_system.")) && !str_starts(line, STR("registry_")) &&
		    !str_starts(line, STR("cdi_dirs = ")))
			return err_set(e, ERR_INVALID, "%s: only what is for root is expected here", name);
	}
	return conf_text(c, rest, name, e);
}
