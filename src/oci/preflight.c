/* What execve(2) will find, looked at first, because the kernel's four words for it ("no such file or directory") are
 * the same for a missing program, a missing interpreter and a missing loader.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/bundle.h"
#include "oci/rootfs.h"

enum {
	HEAD_BYTES = 4096,
	SHEBANG_BYTES = 255,  /* the kernel looks at no more of the first line */
	INTERPRETERS_MAX = 5, /* and follows no more scripts of scripts */
	SEGMENTS_MAX = 256
};

/* Only training jobs say in their requests what is to be executed. */
#define HOW_TO_NAME                                                                                               \
	"; name the program by ENTRYPOINT in the image, or by AlgorithmSpecification.ContainerEntrypoint in the " \
	"request"
#define HOW_TO_SERVE "; name the program by ENTRYPOINT in the image, or put it into the PATH"

struct look {
	int rootfs;
	const char *path_list;   /* PATH as the container will have it */
	const char *working_dir; /* absolute */
	struct program_facts *facts;
};

static const char *value_of(const char *const *env, const char *name, const char *otherwise)
{
	size_t n = strlen(name);
	const char *found = otherwise;

	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			found = *env + n + 1;
	return found;
}

static int open_program(const struct look *l, const char *path, struct stat *st)
{
	_cleanup_close_ int fd = rootfs_open(l->rootfs, path, O_PATH, 0);

	if (fd < 0 || fstat(fd, st) < 0)
		return -1;
	return take_fd(fd);
}

/* The target of a symbolic link that leads nowhere, malloc'd; NULL when path is not one. */
static char *dangling_target(const struct look *l, const char *path)
{
	_cleanup_close_ int fd = rootfs_open(l->rootfs, path, O_PATH | O_NOFOLLOW, 0);
	char target[PATH_MAX];
	ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof(target) - 1);

	if (n <= 0)
		return NULL;
	target[n] = 0;
	return xstrdup(target);
}

static int not_there(const struct look *l, const char *path, const char *what, struct err *e)
{
	int os = errno;
	_cleanup_free_ char *target = dangling_target(l, path);

	if (os == ELOOP)
		return err_set(e, ERR_TRAINER, "%s %s is a symbolic link that leads in a circle", what, path);
	if (target)
		return err_set(e, ERR_TRAINER, "%s %s is a symbolic link to %s, which the image does not have", what,
		               path, target);
	return err_set(e, ERR_TRAINER, "%s %s does not exist in the image", what, path);
}

/* A name without '/', as execvp would: the first executable file on PATH. Sets *ret (malloc'd) to where it was found.
 */
static int search_path(const struct look *l, const char *name, const char *wanted_by, char **ret, struct err *e)
{
	struct str rest = str_of(l->path_list);
	_cleanup_free_ char *near_miss = NULL;

	while (rest.n) {
		struct str dir = str_cut(&rest, ':');
		_cleanup_free_ char *file = strf(PRIstr "/%s", ARGstr(dir), name);
		struct stat st;
		int fd = file[0] == '/' ? open_program(l, file, &st) : -1;

		if (fd < 0) {
			_cleanup_free_ char *target = file[0] == '/' ? dangling_target(l, file) : NULL;

			if (target && !near_miss)
				near_miss = strf(" (%s is a symbolic link to %s, which the image does not have)", file,
				                 target);
			continue;
		}
		close(fd);
		if (S_ISREG(st.st_mode) && (st.st_mode & 0111)) {
			*ret = take_ptr(file);
			return 0;
		}
		if (!near_miss)
			near_miss = strf(" (%s is %s)", file,
			                 S_ISDIR(st.st_mode)   ? "a directory"
			                 : S_ISREG(st.st_mode) ? "there, but not executable: chmod +x it"
			                                       : "not a regular file");
	}
	if (wanted_by)
		return err_set(e, ERR_TRAINER, "%s asks for '%s', which is not in the image's PATH (%s)%s", wanted_by,
		               name, l->path_list, near_miss ? near_miss : "");
	return err_set(e, ERR_TRAINER, "the image has no program '%s' in its PATH (%s)%s%s", name, l->path_list,
	               near_miss ? near_miss : "",
	               near_miss                    ? ""
	               : strcmp(name, "serve") == 0 ? HOW_TO_SERVE
	                                            : HOW_TO_NAME);
}

const char *machine_name(unsigned machine)
{
	switch (machine) {
	case EM_X86_64: return "amd64 (x86-64)";
	case EM_AARCH64: return "arm64 (aarch64)";
	case EM_386: return "386 (32-bit x86)";
	case EM_ARM: return "arm (32-bit)";
	case EM_RISCV: return "riscv64";
	case EM_PPC64: return "ppc64le";
	case EM_S390: return "s390x";
	default: return "another kind of machine";
	}
}

/* Whether the kernel has been taught to run programs of another machine through an emulator. */
static bool emulated(unsigned machine)
{
	const char *name = machine == EM_AARCH64  ? "qemu-aarch64"
	                   : machine == EM_X86_64 ? "qemu-x86_64"
	                   : machine == EM_ARM    ? "qemu-arm"
	                   : machine == EM_RISCV  ? "qemu-riscv64"
	                   : machine == EM_PPC64  ? "qemu-ppc64le"
	                   : machine == EM_S390   ? "qemu-s390x"
	                                          : NULL;
	_cleanup_free_ char *path = name ? strf("/proc/sys/fs/binfmt_misc/%s", name) : NULL;

	return path && access(path, F_OK) == 0;
}

static bool runs_here(unsigned machine)
{
#if defined(__x86_64__)
	return machine == EM_X86_64 || machine == EM_386 || emulated(machine);
#elif defined(__aarch64__)
	return machine == EM_AARCH64 || machine == EM_ARM || emulated(machine);
#endif
}

static unsigned this_machine(void)
{
#if defined(__x86_64__)
	return EM_X86_64;
#elif defined(__aarch64__)
	return EM_AARCH64;
#endif
}

/* Where PT_INTERP's text lies in a 64-bit file; false when it has none. */
static bool find_interp(int fd, const Elf64_Ehdr *h, uint64_t *ret_at, uint64_t *ret_n)
{
	if (h->e_phentsize != sizeof(Elf64_Phdr))
		return false;
	for (unsigned i = 0; i < h->e_phnum && i < SEGMENTS_MAX; i++) {
		Elf64_Phdr p;

		if (pread(fd, &p, sizeof(p), (off_t)(h->e_phoff + i * sizeof(p))) != (ssize_t)sizeof(p))
			return false;
		if (p.p_type == PT_INTERP) {
			*ret_at = p.p_offset;
			*ret_n = p.p_filesz;
			return true;
		}
	}
	return false;
}

static int check_elf(const struct look *l, const char *path, int fd, const unsigned char *head, size_t n, struct err *e)
{
	char loader[PATH_MAX] = { 0 };
	uint64_t at, length;
	struct stat st;
	Elf64_Ehdr h;
	int found;

	if (n < sizeof(Elf32_Ehdr))
		return err_set(e, ERR_TRAINER, "%s is a damaged program: it ends within its header", path);
	memcpy(&h, head, n < sizeof(h) ? n : sizeof(h)); /* e_type and e_machine lie alike in both classes */
	l->facts->machine = h.e_machine;
	l->facts->foreign = !runs_here(h.e_machine);
	if (l->facts->foreign)
		return err_set(e, ERR_TRAINER,
		               "%s is built for %s, but this machine is %s; build the image for this one "
		               "(docker build --platform)",
		               path, machine_name(h.e_machine), machine_name(this_machine()));
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || n < sizeof(h) || h.e_machine != this_machine())
		return 0;
	if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
		return err_set(e, ERR_TRAINER, "%s is an object file, not a program; link it first", path);
	if (!find_interp(fd, &h, &at, &length))
		return 0; /* static */
	if (length == 0 || length >= sizeof(loader) || pread(fd, loader, length, (off_t)at) != (ssize_t)length)
		return err_set(e, ERR_TRAINER, "%s is a damaged program: its loader's name cannot be read", path);
	found = open_program(l, loader, &st);
	if (found < 0)
		return err_set(e, ERR_TRAINER,
		               "%s needs the loader %s, which the image does not have: it was built against another C "
		               "library than "
		               "the image's; build it in the image's own base, or link it statically",
		               path, loader);
	close(found);
	return 0;
}

static int check_file(const struct look *l, const char *path, const char *what, int depth, struct err *e);

/* What `env` will look for: its first operand that is neither an option nor an assignment. */
static struct str env_operand(struct str words)
{
	while (words.n) {
		struct str word = str_cut(&words, ' ');

		if (word.n && word.p[0] != '-' && !str_has_byte(word, '='))
			return word;
	}
	return (struct str){ 0 };
}

static int check_shebang(const struct look *l, const char *path, struct str head, int depth, struct err *e)
{
	struct str line = str_cut(&head, '\n'), interpreter, leaf;
	_cleanup_free_ char *program = NULL, *name = NULL, *found = NULL, *where = NULL;

	if (line.n && line.p[line.n - 1] == '\r')
		return err_set(e, ERR_TRAINER,
		               "the first line of %s ends in a carriage return (Windows line ends), so Linux looks for "
		               "an interpreter "
		               "of that name; convert the file, e.g. sed -i 's/\\r$//' FILE",
		               path);
	if (line.n > SHEBANG_BYTES)
		line.n = SHEBANG_BYTES;
	str_skip(&line, STR("#!"));
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == 0)
			line.n = i;
	line = str_trim(line);
	interpreter = str_cut(&line, ' ');
	if (str_has_byte(interpreter, '\t')) {
		line = interpreter;
		interpreter = str_cut(&line, '\t');
	}
	if (interpreter.n == 0)
		return err_set(e, ERR_TRAINER,
		               "the first line of %s is #! without an interpreter; write e.g. #!/bin/sh", path);
	if (depth >= INTERPRETERS_MAX)
		return err_set(e, ERR_TRAINER, "the interpreter of %s is again a script, too many times over", path);
	program = interpreter.p[0] == '/' ? str_dup(interpreter)
	                                  : strf("%s/" PRIstr, l->working_dir, ARGstr(interpreter));
	where = strf("the interpreter in the first line of %s,", path);
	if (!l->facts->interpreter)
		l->facts->interpreter = xstrdup(program);
	if (check_file(l, program, where, depth + 1, e) < 0)
		return -1;
	leaf = interpreter;
	leaf = str_cut_last(&leaf, '/');
	line = env_operand(line);
	if (!str_is(leaf, "env") || line.n == 0 || str_has_byte(line, '/'))
		return 0;
	name = str_dup(line);
	return search_path(l, name, path, &found, e);
}

static bool looks_like_text(struct str head)
{
	for (size_t i = 0; i < head.n; i++)
		if (head.p[i] == 0)
			return false;
	return true;
}

static int check_content(const struct look *l, const char *path, int depth, struct err *e)
{
	_cleanup_close_ int fd = rootfs_open(l->rootfs, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	char bytes[HEAD_BYTES];
	struct str head;
	size_t n;

	if (fd < 0)
		return err_sys(e, "reading %s of the image", path);
	if (fd_read_full(fd, bytes, sizeof(bytes), &n, e) < 0)
		return err_in(e, "reading %s of the image", path);
	head = (struct str){ bytes, n };
	if (n == 0)
		return err_set(e, ERR_TRAINER, "%s is an empty file; there is nothing in it to execute", path);
	if (str_starts(head, STR(ELFMAG)))
		return check_elf(l, path, fd, (const unsigned char *)bytes, n, e);
	if (str_starts(head, STR("#!")))
		return check_shebang(l, path, head, depth, e);
	if (str_starts(head, STR("\xef\xbb\xbf#!")))
		return err_set(e, ERR_TRAINER,
		               "%s starts with a byte order mark before its #! line, which Linux does not skip; save "
		               "it without",
		               path);
	if (looks_like_text(head))
		return err_set(
		        e, ERR_TRAINER,
		        "%s is a text without a #! line, which Linux does not execute; begin it with e.g. #!/bin/sh or "
		        "#!/usr/bin/env python3",
		        path);
	return err_set(e, ERR_TRAINER, "%s is neither a Linux program nor a script", path);
}

/* path is absolute. `what` begins the sentences about it, e.g. "the program". */
static int check_file(const struct look *l, const char *path, const char *what, int depth, struct err *e)
{
	struct stat st;
	int fd = open_program(l, path, &st);

	if (fd < 0)
		return not_there(l, path, what, e);
	close(fd);
	if (S_ISDIR(st.st_mode))
		return err_set(e, ERR_TRAINER, "%s %s is a directory", what, path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_TRAINER, "%s %s is not a regular file", what, path);
	if (!(st.st_mode & 0111))
		return err_set(e, ERR_TRAINER,
		               "%s %s is not executable (mode %03o); chmod +x it when the image is built", what, path,
		               (unsigned)st.st_mode & 0777);
	return check_content(l, path, depth, e);
}

void program_facts_fini(struct program_facts *f)
{
	free(f->path);
	free(f->interpreter);
	*f = (struct program_facts){ 0 };
}

static void note_owner(const struct look *l, const char *path)
{
	struct stat st;
	int fd = open_program(l, path, &st);

	if (fd < 0)
		return;
	close(fd);
	l->facts->uid = st.st_uid;
	l->facts->gid = st.st_gid;
	l->facts->mode = st.st_mode & 07777;
}

int bundle_look(const char *rootfs, const char *const *args, const char *const *env, const char *working_dir,
                struct program_facts *ret, struct err *e)
{
	_cleanup_close_ int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *cwd = strf("%s%s", working_dir[0] == '/' ? "" : "/", working_dir);
	struct look l = { .rootfs = root, .path_list = value_of(env, "PATH", ""), .working_dir = cwd, .facts = ret };

	if (root < 0)
		return err_sys(e, "opening the root %s", rootfs);
	if (!args[0] || !args[0][0])
		return err_set(
		        e, ERR_TRAINER,
		        "there is nothing to execute: neither the image nor the request names a program" HOW_TO_NAME);
	if (strchr(args[0], '/'))
		ret->path = args[0][0] == '/' ? xstrdup(args[0]) : strf("%s/%s", cwd, args[0]);
	else if (search_path(&l, args[0], NULL, &ret->path, e) < 0)
		return -1;
	note_owner(&l, ret->path);
	return check_file(&l, ret->path, "the program", 0, e);
}

int bundle_preflight(const char *rootfs, const char *const *args, const char *const *env, const char *working_dir,
                     struct err *e)
{
	_cleanup_(program_facts_fini) struct program_facts facts = { 0 };

	return bundle_look(rootfs, args, env, working_dir, &facts, e);
}
