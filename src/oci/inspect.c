/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/inspect.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/bundle.h"
#include "oci/layout.h"
#include "oci/rootfs.h"

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define LARGE_BYTES (UINT64_C(10) << 30)

enum { TEXT_MAX = 500, WORDS_MAX = 64, FINDING_MAX = 1500 }; /* a report has to fit into a message of hostlink.h */

struct inspection {
	const struct image *image;
	const struct inspect_order *order;
	json_t *findings;
	char **args; /* what is executed */
	const char **env;
	struct program_facts program;
	bool program_found;
	int root;
};

/* How many bytes before `at` belong to a character that goes on there. */
static size_t cut_back(const char *p, size_t at)
{
	size_t n = 0;

	while (n < at && n < 3 && ((unsigned char)p[at - n] & 0xc0) == 0x80)
		n++;
	return n;
}

static void find(struct inspection *x, const char *level, const char *where, const char *todo, const char *fmt, ...)
        printf_like(5, 6);
static void find(struct inspection *x, const char *level, const char *where, const char *todo, const char *fmt, ...)
{
	_cleanup_buf_ struct buf what = { 0 };
	json_t *j;
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&what, fmt, ap);
	va_end(ap);
	if (what.n > FINDING_MAX)
		what.n = FINDING_MAX - cut_back(what.p, FINDING_MAX);
	what.p[what.n] = 0;
	for (size_t i = 0; i < what.n; i++) /* names of files are anything */
		if ((unsigned char)what.p[i] < 0x20 || what.p[i] == 0x7f)
			what.p[i] = '?';
	j = json_pack("{ss ss ss ss*}", "Level", level, "Where", where, "What", what.p, "Do", todo);
	if (!j) /* a path that is not UTF-8 */
		j = json_pack("{ss ss ss ss*}", "Level", level, "Where", where, "What",
		              "something is wrong with a file whose name is not UTF-8", "Do", todo);
	must(j);
	json_array_append_new(x->findings, j);
}

/* "what is wrong; what to do" of the checks before a start, as two. */
static void find_err(struct inspection *x, const char *level, const char *where, const char *todo, const struct err *e)
{
	_cleanup_free_ char *text = xcalloc(1, ERR_FRAMES * ERR_FRAME_BYTES);
	char *at;

	err_text(e, text, ERR_FRAMES * ERR_FRAME_BYTES);
	at = strstr(text, "; ");
	if (at)
		*at = 0;
	todo = at ? at + 2 : todo;
	find(x, level, where, todo, "%s", text);
}

static const char *leaf_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_in(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

/* ---- what is executed ---- */

/* The image's variables, then the request's; PATH as a container has it that sets none. */
static const char **environment(const struct image *i, const char *const *more)
{
	size_t n = 2, at = 0;
	const char **env;

	for (char **v = i->env; *v; v++)
		n++;
	for (const char *const *v = more; v && *v; v++)
		n++;
	env = xcalloc(n, sizeof(*env));
	env[at++] = PATH_DEFAULT;
	for (char **v = i->env; *v; v++)
		env[at++] = *v;
	for (const char *const *v = more; v && *v; v++)
		env[at++] = *v;
	return env;
}

static char **arguments(const struct image *i, const struct inspect_order *o)
{
	const char *const command[] = { o->command, NULL }, *const nothing[] = { NULL };

	return bundle_args(i, o->entrypoint, o->arguments ? o->arguments : o->entrypoint ? nothing : command);
}

/* The program behind those that only start another: the index of its name, 0 when args[0] is the program itself. */
static size_t behind_init(char *const *args)
{
	static const char *const inits[] = { "tini", "tini-static", "dumb-init", "catatonit", "docker-init", NULL };
	size_t i = 1;

	if (!is_in(leaf_of(args[0]), inits))
		return 0;
	while (args[i] && args[i][0] == '-') {
		if (strcmp(args[i], "--") == 0)
			return i + 1;
		i += strcmp(args[i], "-p") == 0 || strcmp(args[i], "-e") == 0 || strcmp(args[i], "-r") == 0 ? 2 : 1;
	}
	return i;
}

static bool is_shell_form(char *const *args)
{
	static const char *const shells[] = { "sh", "bash", "dash", "ash", "zsh", "ksh", NULL };

	return is_in(leaf_of(args[0]), shells) && args[1] && strcmp(args[1], "-c") == 0;
}

/* The script an interpreter is given: its first operand, where options before it take no value that could be one. */
static const char *script_of(char *const *args)
{
	static const char *const names[] = { "sh",   "bash", "dash",    "ash",   "perl",
		                             "ruby", "node", "Rscript", "julia", NULL };
	const char *name = leaf_of(args[0]);

	if (!is_in(name, names) && strncmp(name, "python", 6) != 0)
		return NULL;
	for (size_t i = 1; args[i]; i++) {
		if (strcmp(args[i], "-c") == 0 || strcmp(args[i], "-m") == 0 || strcmp(args[i], "-e") == 0)
			return NULL;
		if (args[i][0] != '-')
			return args[i];
		if (strcmp(args[i], "-u") != 0 && strcmp(args[i], "-B") != 0 && strcmp(args[i], "-E") != 0 &&
		    strcmp(args[i], "-O") != 0)
			return NULL;
	}
	return NULL;
}

/* Where some shells look, too. */
static bool is_on_path(const struct inspection *x, const char *name)
{
	_cleanup_(program_facts_fini) struct program_facts p = { 0 };
	const char *const args[] = { name, NULL };

	return bundle_look(x->image->rootfs, args, x->env, x->image->working_dir, &p, NULL) == 0;
}

static void look_at_script(struct inspection *x, char *const *args)
{
	const char *script = script_of(args);
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -EBADF;

	if (!script)
		return;
	path = script[0] == '/'
	               ? xstrdup(script)
	               : strf("%s%s%s", x->image->working_dir, strcmp(x->image->working_dir, "/") ? "/" : "", script);
	fd = rootfs_open(x->root, path, O_PATH, 0);
	if (fd >= 0 || (!strchr(script, '/') && is_on_path(x, script)))
		return;
	if (strcmp(script, x->order->command) == 0)
		find(x, INSPECT_FAILS, "ENTRYPOINT",
		     "name the script in ENTRYPOINT, or the program instead of the interpreter",
		     "the entrypoint is only an interpreter (%s), which is given `%s` as its script, and the image has "
		     "no %s",
		     args[0], script, path);
	else
		find(x, INSPECT_FAILS, "ENTRYPOINT", "copy it into the image, or correct the entrypoint or WORKDIR",
		     "%s is to run %s, which the image does not have", args[0], path);
}

static void look_at_forms(struct inspection *x)
{
	bool own = x->order->entrypoint != NULL;
	const char *where = own ? "AlgorithmSpecification.ContainerEntrypoint" : "ENTRYPOINT";

	if (is_shell_form(x->args) && !x->order->arguments && !own)
		find(x, INSPECT_WARNING, where, "use the form with brackets: ENTRYPOINT [\"/path/to/program\"]",
		     "the entrypoint is a shell's command line: it does not see the argument `%s`, and SIGTERM, which "
		     "is all "
		     "a job gets before it is stopped, goes to the shell",
		     x->order->command);
	if (behind_init(x->args) && !own)
		find(x, INSPECT_WARNING, where, "let the entrypoint be the program itself",
		     "the entrypoint is %s, which AWS says does not work there because of the argument `%s`",
		     leaf_of(x->args[0]), x->order->command);
}

/* An arm64 program at AWS: of the types for training only ml.p6e-gb200 has such CPUs, which op/ knows better. */
static void look_at_machine(struct inspection *x)
{
	const char *said = x->image->architecture, *here = layout_architecture();
	unsigned machine = x->program.machine;
	const char *real = machine == EM_X86_64 ? "amd64" : machine == EM_AARCH64 ? "arm64" : said;

	if (*said && strcmp(said, real) != 0)
		find(x, INSPECT_WARNING, "Architecture", "build it with the right --platform",
		     "the image calls itself %s, but its program is for %s", said, machine_name(machine));
	else if (*said && strcmp(said, here) != 0 && !machine)
		find(x, INSPECT_FAILS_HERE, "Architecture",
		     "build the image for this machine (docker build --platform)",
		     "the image is for %s, and this machine is %s", said, here);
}

static void look_at_program(struct inspection *x)
{
	size_t at;
	struct err e = { 0 };

	x->args = arguments(x->image, x->order);
	look_at_forms(x);
	at = x->args[0] ? behind_init(x->args) : 0;
	if (at && !x->args[at]) {
		find(x, INSPECT_FAILS, "ENTRYPOINT", "name the program after it", "%s is given nothing to start",
		     leaf_of(x->args[0]));
		return;
	}
	if (bundle_look(x->image->rootfs, (const char *const *)x->args + at, x->env, x->image->working_dir, &x->program,
	                &e) == 0) {
		x->program_found = true;
		look_at_script(x, x->args + at);
		return;
	}
	find_err(x, x->program.foreign ? INSPECT_FAILS_HERE : INSPECT_FAILS, x->order->command, NULL, &e);
}

/* ---- who runs it ---- */

static bool may_execute(const struct program_facts *p, const struct rootfs_user *u)
{
	if (u->uid == 0)
		return true;
	if (u->uid == p->uid)
		return p->mode & 0100;
	if (u->gid == p->gid)
		return p->mode & 0010;
	for (size_t i = 0; i < u->group_count; i++)
		if (u->groups[i] == p->gid)
			return p->mode & 0010;
	return p->mode & 0001;
}

static void look_at_user(struct inspection *x)
{
	_cleanup_(rootfs_user_fini) struct rootfs_user u = { 0 };
	struct err e = { 0 };

	if (rootfs_user(x->root, x->image->user, &u, &e) < 0) {
		find_err(x, INSPECT_FAILS, "USER", NULL, &e);
		return;
	}
	if (u.uid == 0)
		return;
	if (x->program_found && !may_execute(&x->program, &u))
		find(x, INSPECT_FAILS, "USER", "chmod a+rx it when the image is built",
		     "user %s (%u:%u) may not execute %s, which belongs to %u:%u and has mode %03o", x->image->user,
		     u.uid, u.gid, x->program.path, x->program.uid, x->program.gid, x->program.mode & 0777);
	find(x, INSPECT_WARNING, "USER", "leave USER out, or write only to /tmp",
	     "user %s (%u:%u) is not root, to whom /opt/ml belongs here and at AWS (mode 0755): it may read the input, "
	     "but "
	     "write neither /opt/ml/model nor /opt/ml/output",
	     x->image->user, u.uid, u.gid);
}

/* ---- what is hidden, and the rest ---- */

static bool has_entries(int root, const char *path)
{
	int fd = rootfs_open(root, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	bool any = false;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!any && (ent = readdir(d)))
		any = strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0;
	closedir(d);
	return any;
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return path && strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]);
}

static void look_at_tree(struct inspection *x)
{
	static const char *const ours[] = { "/opt/ml/input", "/opt/ml/model", "/opt/ml/output", "/opt/ml/checkpoints" };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (is_below(x->program.path, ours[i]) || is_below(x->image->working_dir, ours[i]))
			find(x, INSPECT_FAILS_ON_AWS, ours[i], "put the program elsewhere, such as /opt/program",
			     "%s lies in %s, which AWS mounts something else over",
			     is_below(x->program.path, ours[i]) ? x->program.path : "the working directory", ours[i]);
		else if (has_entries(x->root, ours[i]))
			find(x, INSPECT_WARNING, ours[i], "put what the image brings elsewhere, such as /opt/program",
			     "the image has files in %s, which are not to be seen at AWS, and mix with the job's here",
			     ours[i]);
	}
}

static void look_at_environment(struct inspection *x)
{
	for (char **v = x->image->env; *v; v++) {
		struct str rest = str_of(*v), name = str_cut(&rest, '=');

		if (str_starts(name, STR("TRAINING_JOB_")) || str_starts(name, STR("AWS_CONTAINER_")) ||
		    str_is(name, "NVIDIA_VISIBLE_DEVICES"))
			continue; /* replaced, without harm */
		if (str_is(name, "AWS_SECRET_ACCESS_KEY") || str_is(name, "AWS_SESSION_TOKEN"))
			find(x, INSPECT_WARNING, "ENV",
			     "take it out of the image, and replace that key: whoever has the image has it",
			     "the image has a key in its variable " PRIstr ", which goes before the role's credentials",
			     ARGstr(name));
		if (str_is(name, "AWS_ENDPOINT_URL"))
			find(x, INSPECT_WARNING, "ENV",
			     "leave it to the platform, or set it in the request's Environment",
			     "the image sets AWS_ENDPOINT_URL, by which its programs ask somebody else at AWS");
	}
}

static void look_at_size(struct inspection *x)
{
	_cleanup_buf_ struct buf size = { 0 };

	if (x->image->size_bytes <= LARGE_BYTES)
		return;
	buf_bytes(&size, x->image->size_bytes);
	find(x, INSPECT_WARNING, "Size", "leave out what training does not need, such as caches of package managers",
	     "the image has %s unpacked; at AWS every instance fetches it before a job starts", size.p);
}

/* ---- the report ---- */

/* NULL for an empty one. */
static json_t *text(const char *z)
{
	size_t n = z ? strlen(z) : 0;
	json_t *j;

	if (!n)
		return NULL;
	if (n > TEXT_MAX)
		n = TEXT_MAX - cut_back(z, TEXT_MAX);
	j = json_stringn(z, n);
	return j ? j : json_string("(not UTF-8)");
}

static json_t *strings(char *const *v)
{
	json_t *list = json_array();

	for (; v && *v && json_array_size(list) < WORDS_MAX; v++)
		json_array_append_new(list, **v ? text(*v) : json_string(""));
	return list;
}

static json_t *report_of(struct inspection *x)
{
	const struct image *i = x->image;
	const struct program_facts *p = &x->program;
	const char *machine = p->machine == EM_X86_64    ? "amd64"
	                      : p->machine == EM_AARCH64 ? "arm64"
	                      : p->machine               ? "other"
	                                                 : NULL;
	json_t *image = json_pack("{so* so* so* sI so* so* so}", "Reference", text(i->reference), "Digest",
	                          text(i->digest), "Architecture", text(i->architecture), "SizeBytes",
	                          (json_int_t)i->size_bytes, "User", text(i->user), "WorkingDir", text(i->working_dir),
	                          "Entrypoint", strings(i->entrypoint));
	json_t *program = json_pack("{so so* so* ss*}", "Arguments", strings(x->args), "Path",
	                            x->program_found ? text(p->path) : NULL, "Interpreter",
	                            x->program_found ? text(p->interpreter) : NULL, "Machine", machine);

	return json_pack("{so so so}", "Image", image, "Program", program, "Findings", x->findings);
}

int inspect_image(const struct image *i, const struct inspect_order *o, json_t **ret, struct err *e)
{
	struct inspection x = { .image = i, .order = o };
	_cleanup_close_ int root = open(i->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return err_sys(e, "opening the image's root");
	x.root = root;
	x.findings = json_array();
	x.env = environment(i, o->env);
	look_at_program(&x);
	look_at_machine(&x);
	look_at_user(&x);
	look_at_tree(&x);
	look_at_environment(&x);
	look_at_size(&x);
	*ret = report_of(&x);
	must(*ret);
	program_facts_fini(&x.program);
	for (char **v = x.args; v && *v; v++)
		free(*v);
	free(x.args);
	free(x.env);
	return 0;
}
