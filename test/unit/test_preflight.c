/* A gallery of images that cannot start, and what is said about each.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/bundle.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

static const char *const env[] = { "A=b", "PATH=/usr/bin:/bin", NULL };

#if defined(__x86_64__)
enum { OURS = EM_X86_64, OTHER = EM_AARCH64 };
#else
enum { OURS = EM_AARCH64, OTHER = EM_X86_64 };
#endif

static void put(const char *name, struct str bytes, mode_t mode)
{
	_cleanup_free_ char *path = strf("%s%s", test_tmpdir(), name);
	struct str dir = str_of(path);
	_cleanup_free_ char *z = NULL;

	str_cut_last(&dir, '/');
	z = str_dup(dir);
	CHECK_OK(mkdir_all(AT_FDCWD, z, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, path, bytes, mode, e));
}

static void dir(const char *name)
{
	_cleanup_free_ char *path = strf("%s%s", test_tmpdir(), name);

	CHECK_OK(mkdir_all(AT_FDCWD, path, 0755, e));
}

static void script(const char *name, const char *text)
{
	put(name, str_of(text), 0755);
}

static void link_to(const char *name, const char *target)
{
	_cleanup_free_ char *path = strf("%s%s", test_tmpdir(), name);

	CHECK(symlink(target, path) == 0);
}

/* A program's first pages: header, one segment that names the loader (NULL: static), and nothing to run. */
static void elf(const char *name, unsigned machine, unsigned type, const char *loader)
{
	const size_t loader_bytes = loader ? strlen(loader) + 1 : 0;
	const Elf64_Ehdr h = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = (Elf64_Half)type,
		.e_machine = (Elf64_Half)machine,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr p = { .p_type = loader ? PT_INTERP : PT_LOAD,
		               .p_offset = sizeof(h) + sizeof(p),
		               .p_filesz = loader_bytes };
	_cleanup_buf_ struct buf b = { 0 };

	buf_add(&b, &h, sizeof(h));
	buf_add(&b, &p, sizeof(p));
	buf_add(&b, loader, loader_bytes);
	put(name, buf_view(&b), 0755);
}

static void expect_in(const char *working_dir, const char *program, const char *want)
{
	const char *const args[] = { program, "train", NULL };
	struct err why = { 0 };
	char text[4096];
	int rc = bundle_preflight(test_tmpdir(), args, env, working_dir, &why);

	if (!want) {
		if (rc < 0)
			test_failed(__FILE__, __LINE__, "%s: %s", program, err_text(&why, text, sizeof(text)));
		return;
	}
	CHECK(rc < 0 && why.kind == ERR_TRAINER);
	if (!strstr(err_text(&why, text, sizeof(text)), want))
		test_failed(__FILE__, __LINE__, "%s: '%s' does not say '%s'", program, text, want);
}

static void expect(const char *program, const char *want)
{
	expect_in("/", program, want);
}

TEST(what_can_start_passes)
{
	elf("/bin/static", OURS, ET_EXEC, NULL);
	elf("/usr/bin/dynamic", OURS, ET_DYN, "/lib64/ld.so");
	elf("/lib/real-ld.so", OURS, ET_DYN, NULL);
	dir("/opt");
	link_to("/lib64", "lib");
	link_to("/lib/ld.so", "/lib/real-ld.so"); /* absolute: within the image */
	link_to("/bin/sh", "static");
	script("/usr/bin/shell", "#!/bin/sh -e\ntrue\n");
	script("/usr/bin/spaced", "#! \t/bin/sh\n");
	script("/usr/bin/by-env", "#!/bin/env static\n");
	script("/usr/bin/by-env-s", "#!/bin/env -S X=1 static -u\n");
	script("/opt/relative", "#!/bin/sh");
	link_to("/bin/env", "static");
	expect("static", NULL);
	expect("dynamic", NULL);
	expect("shell", NULL);
	expect("spaced", NULL);
	expect("by-env", NULL);
	expect("by-env-s", NULL);
	expect("/bin/static", NULL);
	expect_in("/opt", "./relative", NULL);
	expect_in("opt", "./relative", NULL);
}

TEST(a_missing_train_is_named_with_the_path_that_was_searched)
{
	expect("train", "no program 'train' in its PATH (/usr/bin:/bin)");
	expect("train", "ContainerEntrypoint");
	expect("/train", "/train does not exist in the image");
	expect("", "nothing to execute");
}

TEST(files_that_are_no_programs)
{
	put("/bin/plain", STR("#!/bin/sh\n"), 0644);
	put("/bin/empty", STR(""), 0755);
	put("/bin/text", STR("echo hello\n"), 0755);
	put("/bin/bytes", STR("\x01\x02\x00\x03"), 0755);
	put("/bin/bom", STR("\xef\xbb\xbf#!/bin/sh\n"), 0755);
	put("/bin/short",
	    STR("\x7f"
	        "ELF\x02"),
	    0755);
	dir("/bin/dir");
	expect("plain", "not executable: chmod +x");
	expect("/bin/plain", "not executable (mode 644)");
	expect("empty", "an empty file");
	expect("text", "without a #! line");
	expect("bytes", "neither a Linux program nor a script");
	expect("bom", "byte order mark");
	expect("short", "damaged program");
	expect("dir", "is a directory");
	expect("/bin/dir", "is a directory");
}

TEST(scripts_whose_interpreter_is_wrong)
{
	elf("/bin/env", OURS, ET_EXEC, NULL);
	script("/bin/crlf", "#!/bin/sh\r\necho\r\n");
	script("/bin/env-crlf", "#!/bin/env python3\r\n");
	script("/bin/no-bash", "#!/bin/bash\n");
	script("/bin/no-python", "#!/bin/env python3\n");
	script("/bin/nothing", "#!\n");
	script("/bin/loop", "#!/bin/loop\n");
	script("/bin/plain-interpreter", "#!/bin/crlf\n");
	expect("crlf", "carriage return");
	expect("env-crlf", "carriage return");
	expect("no-bash", "/bin/bash does not exist in the image");
	expect("no-python", "asks for 'python3', which is not in the image's PATH");
	expect("nothing", "without an interpreter");
	expect("loop", "too many times");
	expect("plain-interpreter", "carriage return");
}

TEST(programs_of_another_machine_or_library)
{
	elf("/bin/other", OTHER, ET_EXEC, NULL);
	elf("/bin/glibc", OURS, ET_DYN, "/lib64/ld-linux-x86-64.so.2");
	elf("/bin/object", OURS, ET_REL, NULL);
	elf("/bin/odd", OURS, ET_DYN, "");
	expect("other", "but this machine is");
	expect("other", "docker build --platform");
	expect("glibc", "needs the loader /lib64/ld-linux-x86-64.so.2, which the image does not have");
	expect("object", "an object file");
	expect("odd", "needs the loader");
}

TEST(links_that_lead_nowhere_or_out)
{
	_cleanup_free_ char *fifo = strf("%s/bin/fifo", test_tmpdir());

	dir("/bin");
	link_to("/bin/broken", "/nowhere/python3");
	link_to("/bin/circle", "circle");
	link_to("/bin/out", "../../../../../../../../../../bin/cat"); /* of this machine, not of the image */
	link_to("/bin/fifo-link", "fifo");
	expect("broken", "a symbolic link to /nowhere/python3, which the image does not have");
	expect("/bin/broken", "a symbolic link to /nowhere/python3");
	expect("/bin/circle", "leads in a circle");
	expect("out", "which the image does not have");
	CHECK(mkfifo(fifo, 0755) == 0);
	expect("/bin/fifo-link", "not a regular file");
}
