/* What is found in root file systems.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/scan.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "loop/loop.h"
#include "oci/image.h"
#include "oci/import.h"
#include "oci/scan_others.h"

static int make_root(void)
{
	_cleanup_free_ char *path = strf("%s/root", test_tmpdir());
	int fd;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		test_failed(__FILE__, __LINE__, "mkdir %s: %s", path, strerror(errno));
	chmod(path, 0755);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void put_bytes(int root, const char *path, mode_t mode, struct str text)
{
	struct str dir = str_of(path);
	_cleanup_free_ char *parent = NULL;

	str_cut_last(&dir, '/');
	if (str_has_byte(str_of(path), '/')) {
		parent = str_dup(dir);
		CHECK_OK(mkdir_all(root, parent, 0755, e));
	}
	CHECK_OK(file_put(root, path, text, 0644, e));
	CHECK(fchmodat(root, path, mode, 0) == 0);
}

static void put(int root, const char *path, mode_t mode, const char *text)
{
	put_bytes(root, path, mode, str_of(text));
}

static json_t *look_at(int root, const char *config)
{
	json_t *c = config ? json_loads(config, 0, NULL) : NULL, *report = NULL;
	struct scan_options o = { .config = c };
	struct wall now;

	CHECK(wall_from_iso8601(STR("2026-11-21T00:00:00Z"), &now));
	o.now = now;
	CHECK_OK(scan_tree(root, &o, &report, e));
	json_decref(c);
	return report;
}

/* "severity rule path" of each, one a line. */
static char *summary(const json_t *report)
{
	struct buf b = { 0 };
	const json_t *f;
	size_t i;

	buf_need(&b, 1);
	json_array_foreach (json_object_get(report, "findings"), i, f)
		buf_f(&b, "%s %s %s\n", json_string_value(json_object_get(f, "severity")),
		      json_string_value(json_object_get(f, "rule")), json_string_value(json_object_get(f, "path")));
	return buf_take(&b);
}

static void expect(int root, const char *config, const char *want)
{
	json_t *report = look_at(root, config);
	_cleanup_free_ char *got = summary(report);

	CHECK_STR(got, want);
	json_decref(report);
}

TEST(a_clean_tree_has_no_findings)
{
	_cleanup_close_ int root = make_root();
	json_t *report;

	put(root, "bin/sh", 0755, "#!x");
	put(root, "etc/passwd", 0644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n");
	put(root, "etc/shadow", 0640, "root:*:19000:0:99999:7:::\nnobody:!:19000::::::\n");
	mkdirat(root, "tmp", 0755);
	fchmodat(root, "tmp", 01777, 0);
	report = look_at(root, "{\"Env\": [\"PATH=/usr/bin:/bin\"]}");
	CHECK_INT(json_array_size(json_object_get(report, "findings")), 0);
	CHECK_INT(json_integer_value(json_object_get(report, "files")), 3);
	CHECK_STR(json_string_value(json_object_get(json_object_get(report, "packages"), "manager")), "none");
	json_decref(report);
}

TEST(programs_with_rights_are_judged_by_whose_they_are)
{
	_cleanup_close_ int root = make_root();

	put(root, "usr/bin/su", 04755, "x");
	put(root, "usr/bin/mine", 04755, "x");
	put(root, "usr/bin/helper", 04755, "x");
	put(root, "usr/lib/group", 02755, "x");
	put(root, "usr/bin/open", 04777, "x");
	put(root, "usr/share/not-a-program", 04644, "x");
	put(root, "var/lib/dpkg/status", 0644,
	    "Package: a\nStatus: install ok installed\nVersion: 1.2-3\nArchitecture: amd64\nDescription: x\n more\n\n"
	    "Package: gone\nStatus: deinstall ok config-files\nVersion: 2\n\n");
	put(root, "var/lib/dpkg/info/a.list", 0644, "/.\n/bin\n/bin/helper\n/usr/lib/group\n");
	expect(root, NULL,
	       "high setuid /usr/bin/mine\n"
	       "high setuid /usr/bin/open\n"
	       "high world-writable /usr/bin/open\n"
	       "low setgid /usr/lib/group\n"
	       "low setuid /usr/bin/helper\n"
	       "low setuid /usr/bin/su\n");
}

TEST(what_everybody_may_write)
{
	_cleanup_close_ int root = make_root();

	put(root, "etc/x.conf", 0666, "x");
	put(root, "opt/program/data", 0666, "x");
	fchmodat(root, "opt/program", 0777, 0);
	mkdirat(root, "usr", 0755);
	mkdirat(root, "usr/share", 0755);
	fchmodat(root, "usr/share", 0777, 0);
	symlinkat("x.conf", root, "etc/link");
	expect(root, NULL,
	       "high world-writable /etc/x.conf\n"
	       "high world-writable /usr/share\n"
	       "medium world-writable /opt/program\n"
	       "medium world-writable /opt/program/data\n");
}

TEST(accounts)
{
	_cleanup_close_ int root = make_root();

	put(root, "etc/passwd", 0644,
	    "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nopen::7:7::/:/bin/sh\n"
	    "closed::8:8::/:/sbin/nologin\nbroken\n");
	put(root, "etc/shadow", 0600, "root::19000::::::\nbroken\n");
	expect(root, NULL, "high account /etc/passwd\nmedium account /etc/passwd\nmedium account /etc/shadow\n");
	put(root, "usr/sbin/sshd", 0755, "x");
	expect(root, NULL, "high account /etc/passwd\nhigh account /etc/passwd\nhigh account /etc/shadow\n");
}

TEST(settings)
{
	_cleanup_close_ int root = make_root();

	put(root, "etc/ssh/sshd_config", 0600, "# PermitEmptyPasswords yes\n permitrootlogin\tYES\n");
	put(root, "etc/ssh/sshd_config.d/a.conf", 0600, "PermitEmptyPasswords=yes\n");
	put(root, "etc/sudoers.d/me", 0440, "me ALL=(ALL) NOPASSWD: ALL\n# you NOPASSWD:\n");
	put(root, "etc/apt/sources.list", 0644, "deb [trusted=yes] http://x/ y z\n");
	put(root, "etc/ld.so.preload", 0644, "/lib/evil.so\n");
	put(root, "etc/pip.conf", 0644, "[global]\nindex-url = https://me:secret@pypi.example/simple\n");
	expect(root, "{\"Env\": [\"PATH=.:/bin:/tmp/x\", \"LD_PRELOAD=/x.so\"]}",
	       "high secret /etc/pip.conf\n"
	       "high setting \n"
	       "high setting \n"
	       "high setting /etc/ld.so.preload\n"
	       "high setting /etc/ssh/sshd_config.d/a.conf\n"
	       "medium setting \n"
	       "medium setting /etc/apt/sources.list\n"
	       "medium setting /etc/ssh/sshd_config\n"
	       "medium setting /etc/sudoers.d/me\n");
}

TEST(secrets)
{
	static const char key[] = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n";
	_cleanup_close_ int root = make_root();

	put(root, "root/.aws/credentials", 0600, "[default]\naws_secret_access_key = x\n");
	put(root, "root/.ssh/id_ed25519", 0600, key);
	put(root, "home/a/.ssh/authorized_keys", 0600, "ssh-ed25519 AAAA me\n");
	put(root, "home/a/.netrc", 0600, "machine x login y password z\n");
	put(root, "usr/lib/python3/test/keycert.pem", 0644, key);
	put(root, "usr/share/ca/public.pem", 0644, "-----BEGIN CERTIFICATE-----\n");
	put(root, "root/.docker/config.json", 0600, "{}");
	expect(root,
	       "{\"Env\": [\"AWS_SECRET_ACCESS_KEY=abc\", \"DB_PASSWORD=x\", \"EMPTY_TOKEN=\", \"TOKENIZERS=1\"]}",
	       "high secret \n"
	       "high secret /home/a/.netrc\n"
	       "high secret /home/a/.ssh/authorized_keys\n"
	       "high secret /root/.aws/credentials\n"
	       "high secret /root/.ssh/id_ed25519\n"
	       "medium secret \n"
	       "medium secret \n"
	       "low secret /usr/lib/python3/test/keycert.pem\n");
}

TEST(distributions_grow_old)
{
	_cleanup_close_ int root = make_root();
	json_t *report;

	put(root, "etc/os-release", 0644,
	    "ID=debian\nVERSION_ID=\"10\"\nPRETTY_NAME=\"Debian GNU/Linux 10 (buster)\"\n");
	report = look_at(root, NULL);
	CHECK_STR(json_string_value(json_object_get(json_object_get(report, "os"), "name")),
	          "Debian GNU/Linux 10 (buster)");
	CHECK_INT(json_integer_value(json_object_get(json_object_get(report, "counts"), "medium")), 1);
	json_decref(report);
	put(root, "etc/os-release", 0644, "ID=alpine\nVERSION_ID=3.22.1\n");
	expect(root, NULL, "");
	put(root, "etc/os-release", 0644, "ID=alpine\nVERSION_ID=3.16.1\n");
	expect(root, NULL, "medium distribution /etc/os-release\n");
}

/* The machine's own list, which is a real one, against what its own tool says. */
TEST(dpkg_is_read_as_dpkg_reads_it)
{
	static const char *const argv[] = { "/usr/bin/dpkg-query", "-W", "-f",
		                            "${db:Status-Status} ${Package} ${Version} ${Architecture}\\n", NULL };
	const struct spawn_options o = { .argv = argv, .in = -1 };
	_cleanup_buf_ struct buf status = { 0 }, said = { 0 };
	_cleanup_close_ int root = make_root();
	const json_t *list, *x;
	json_t *report;
	struct str rest;
	size_t i, n = 0;
	int rc = 0;

	if (file_read("/var/lib/dpkg/status", 64 << 20, &status, NULL) < 0 ||
	    spawn_wait(&o, &said, 16 << 20, &rc, NULL) < 0 || rc != 0) {
		test_skip("dpkg is not here");
		return;
	}
	put_bytes(root, "var/lib/dpkg/status", 0644, buf_view(&status));
	report = look_at(root, NULL);
	list = json_object_get(json_object_get(report, "packages"), "list");
	for (rest = buf_view(&said); rest.n;) {
		struct str line = str_cut(&rest, '\n'), name;
		bool found = false;

		if (!str_skip(&line, STR("installed ")))
			continue;
		name = str_cut(&line, ' ');
		n++;
		json_array_foreach (list, i, x) {
			_cleanup_free_ char *have = strf("%s %s", json_string_value(json_object_get(x, "version")),
			                                 json_string_value(json_object_get(x, "architecture")));

			found |= str_is(name, json_string_value(json_object_get(x, "name"))) && str_is(line, have);
		}
		if (!found)
			test_failed(__FILE__, __LINE__, PRIstr " " PRIstr " is not found", ARGstr(name), ARGstr(line));
	}
	CHECK(n > 10);
	CHECK_INT(json_integer_value(json_object_get(json_object_get(report, "packages"), "count")), n);
	json_decref(report);
}

TEST(apk_lists_packages_and_files)
{
	_cleanup_close_ int root = make_root();
	json_t *report;

	put(root, "lib/apk/db/installed", 0644,
	    "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl.so.1\n\nP:helper\nV:1\nA:noarch\nF:usr/"
	    "bin\nR:helper\n");
	put(root, "usr/bin/helper", 04755, "x");
	put(root, "usr/bin/other", 04755, "x");
	report = look_at(root, NULL);
	CHECK_INT(json_integer_value(json_object_get(json_object_get(report, "packages"), "count")), 2);
	json_decref(report);
	expect(root, NULL, "high setuid /usr/bin/other\nlow setuid /usr/bin/helper\n");
}

/* ---- rpm ---- */

static void big(struct buf *b, uint32_t n)
{
	const unsigned char p[] = { n >> 24, n >> 16, n >> 8, n };

	buf_add(b, p, 4);
}

static void entry(struct buf *entries, uint32_t tag, uint32_t type, uint32_t offset, uint32_t count)
{
	big(entries, tag);
	big(entries, type);
	big(entries, offset);
	big(entries, count);
}

static void rpm_header(struct buf *out)
{
	static const char data[] = "bash\0"
	                           "5.1\0"
	                           "2.el9\0"
	                           "x86_64\0"
	                           "helper\0"
	                           "bash\0"
	                           "/usr/bin/\0"
	                           "\0\0\0\0\0\0\0\0";
	_cleanup_buf_ struct buf e = { 0 };

	entry(&e, 1000, 6, 0, 1);
	entry(&e, 1001, 6, 5, 1);
	entry(&e, 1002, 6, 9, 1);
	entry(&e, 1022, 6, 15, 1);
	entry(&e, 1117, 8, 22, 2);
	entry(&e, 1118, 8, 34, 1);
	entry(&e, 1116, 4, 45, 2);
	big(out, 7);
	big(out, sizeof(data));
	buf_str(out, buf_view(&e));
	buf_add(out, data, sizeof(data));
}

static void make_rpmdb(int root, struct str header)
{
	_cleanup_free_ char *path = strf("%s/root/var/lib/rpm/rpmdb.sqlite", test_tmpdir());
	sqlite3_stmt *st;
	sqlite3 *db;

	CHECK_OK(mkdir_all(root, "var/lib/rpm", 0755, e));
	unlink(path);
	CHECK(sqlite3_open(path, &db) == SQLITE_OK);
	CHECK(sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)",
	                   NULL, NULL, NULL) == SQLITE_OK);
	CHECK(sqlite3_prepare_v2(db, "INSERT INTO Packages (blob) VALUES (?1)", -1, &st, NULL) == SQLITE_OK);
	sqlite3_bind_blob(st, 1, header.p, (int)header.n, SQLITE_TRANSIENT);
	CHECK(sqlite3_step(st) == SQLITE_DONE);
	sqlite3_finalize(st);
	sqlite3_close(db);
}

TEST(rpm_lists_packages_and_files)
{
	_cleanup_close_ int root = make_root();
	_cleanup_buf_ struct buf header = { 0 };
	json_t *report, *p;

	rpm_header(&header);
	make_rpmdb(root, buf_view(&header));
	put(root, "usr/bin/helper", 04755, "x");
	report = look_at(root, NULL);
	p = json_array_get(json_object_get(json_object_get(report, "packages"), "list"), 0);
	CHECK_STR(json_string_value(json_object_get(p, "name")), "bash");
	CHECK_STR(json_string_value(json_object_get(p, "version")), "5.1-2.el9");
	CHECK_STR(json_string_value(json_object_get(p, "architecture")), "x86_64");
	json_decref(report);
	expect(root, NULL, "low setuid /usr/bin/helper\n");
}

/* Every shortened and every bent header is read without harm; under a sanitizer this is the point. */
TEST(bent_rpm_headers_do_no_harm)
{
	_cleanup_close_ int root = make_root();
	_cleanup_buf_ struct buf header = { 0 };

	put(root, "usr/bin/helper", 04755, "x");
	rpm_header(&header);
	for (size_t n = 0; n < header.n; n += 7) {
		make_rpmdb(root, (struct str){ header.p, n });
		json_decref(look_at(root, NULL));
	}
	for (size_t i = 0; i < 128; i += 3) {
		header.p[i] ^= (char)0xff;
		make_rpmdb(root, buf_view(&header));
		json_decref(look_at(root, NULL));
		header.p[i] ^= (char)0xff;
	}
	put(root, "var/lib/rpm/rpmdb.sqlite", 0644, "SQLite format 3");
	expect(root, NULL, "high setuid /usr/bin/helper\nmedium packages /var/lib/rpm/rpmdb.sqlite\n");
}

/* ---- strangers ---- */

TEST(links_lead_nowhere_and_names_are_made_readable)
{
	_cleanup_close_ int root = make_root();
	json_t *report;
	const json_t *f;

	put(root, "opt/a\x01\xff\xc3\xa4", 0666, "x");
	symlinkat("/etc", root, "etc");
	symlinkat("../../../../../../..", root, "up");
	put(root, "real/passwd", 0644, "toor:x:0:0::/:/bin/sh\n");
	report = look_at(root, NULL);
	f = json_array_get(json_object_get(report, "findings"), 0);
	CHECK_INT(json_array_size(json_object_get(report, "findings")), 1);
	CHECK_STR(json_string_value(json_object_get(f, "path")), "/opt/a\\x01\\xff\xc3\xa4");
	json_decref(report);
	CHECK(unlinkat(root, "etc", 0) == 0);
	symlinkat("/real", root, "etc"); /* within the image it is the image's */
	expect(root, NULL, "high account /etc/passwd\nmedium world-writable /opt/a\\x01\\xff\xc3\xa4\n");
}

TEST(more_files_than_may_be_is_an_error)
{
	_cleanup_close_ int root = make_root();
	struct scan_options o = { .max_entries = 2 };
	struct err why = { 0 };
	json_t *report;

	put(root, "a", 0644, "");
	put(root, "b", 0644, "");
	CHECK_OK(scan_tree(root, &o, &report, e));
	json_decref(report);
	put(root, "c", 0644, "");
	CHECK(scan_tree(root, &o, &report, &why) < 0 && why.kind == ERR_TOO_LARGE);
}

/* ---- other scanners' words ---- */

TEST(vulnerabilities_of_other_scanners)
{
	static const char trivy[] = "{\"SchemaVersion\":2,\"Results\":[{\"Target\":\"debian\",\"Vulnerabilities\":["
	                            "{\"VulnerabilityID\":\"CVE-1\",\"PkgName\":\"a\",\"InstalledVersion\":\"1\","
	                            "\"FixedVersion\":\"2\",\"Severity\":\"CRITICAL\"},"
	                            "{\"VulnerabilityID\":\"CVE-2\",\"PkgName\":\"a\",\"InstalledVersion\":\"1\","
	                            "\"Severity\":\"CRITICAL\"},"
	                            "{\"VulnerabilityID\":\"CVE-3\",\"PkgName\":\"b\",\"InstalledVersion\":\"1\","
	                            "\"Severity\":\"LOW\"}]},{\"Target\":\"x\"}]}";
	static const char grype[] = "{\"matches\":[{\"vulnerability\":{\"id\":\"CVE-4\",\"severity\":\"Critical\","
	                            "\"fix\":{\"versions\":[\"3\"]}},"
	                            "\"artifact\":{\"name\":\"c\",\"version\":\"1\"}}]}";
	_cleanup_close_ int root = make_root();
	json_t *report = look_at(root, NULL);
	const json_t *counts = json_object_get(report, "counts");
	_cleanup_free_ char *got = NULL;
	uint64_t n;

	CHECK(scan_others_take(str_of(trivy), "trivy", report, &n));
	CHECK_INT(n, 3);
	CHECK(scan_others_take(str_of(grype), "grype", report, &n));
	CHECK_INT(n, 1);
	CHECK_INT(json_integer_value(json_object_get(counts, "high")), 2);
	CHECK_INT(json_integer_value(json_object_get(counts, "medium")), 1);
	got = summary(report);
	CHECK_STR(got, "high vulnerability \nhigh vulnerability \nmedium vulnerability \nlow vulnerability \n");
	CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(report, "findings"), 0), "detail")),
	          "CVE-4 in c 1, fixed in 3, says grype");
	CHECK(!scan_others_take(STR("{}"), "trivy", report, &n));
	CHECK(!scan_others_take(STR("not json"), "grype", report, &n));
	CHECK(!scan_others_take(STR("{\"matches\": 7}"), "grype", report, &n));
	json_decref(report);
}

static void put_scanner(const char *name, const char *script)
{
	_cleanup_free_ char *dir = strf("%s/bin", test_tmpdir()), *path = strf("%s/%s", dir, name);

	CHECK(chmod(test_tmpdir(), 0755) == 0 && (mkdir(dir, 0755) == 0 || errno == EEXIST));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(script), 0755, e));
	CHECK(chmod(path, 0755) == 0);
}

/* Programs that stand for scanners, which are not packages of the distribution: how they are run is what is tested. */
TEST(scanners_run_with_few_rights)
{
	_cleanup_free_ char *path = strf("%s/bin:/usr/bin:/bin", test_tmpdir());
	_cleanup_close_ int root = make_root();
	json_t *report = look_at(root, NULL), *said;
	const json_t *f;

	put_scanner(
	        "trivy",
	        "#!/bin/sh\necho \"{\\\"Results\\\":[{\\\"Vulnerabilities\\\":[{\\\"VulnerabilityID\\\":\\\"$(id -u) "
	        "$(sed -n 's/^CapEff:.//p' /proc/self/status) $2 $7\\\",\\\"PkgName\\\":\\\"p\\\","
	        "\\\"InstalledVersion\\\":\\\"1\\\",\\\"Severity\\\":\\\"LOW\\\"}]}]}\"\n");
	put_scanner("grype", "#!/bin/sh\necho no database >&2\nexit 3\n");
	setenv("PATH", path, 1);
	said = scan_others("/some/root", report);
	f = json_array_get(json_object_get(report, "findings"), 0);
	if (geteuid() == 0) /* nobody, with CAP_DAC_READ_SEARCH alone */
		CHECK_STR(json_string_value(json_object_get(f, "detail")),
		          "65534 0000000000000004 --quiet /some/root in p 1, says trivy");
	CHECK_INT(json_array_size(said), 2);
	CHECK(json_is_true(json_object_get(json_array_get(said, 0), "ok")));
	CHECK_STR(json_string_value(json_object_get(json_array_get(said, 1), "error")), "it ended with status 3");
	json_decref(said);
	json_decref(report);
}

/* ---- an image of the store ---- */

TEST(an_image_is_scanned_confined)
{
	_cleanup_free_ char *images = strf("%s/images", test_tmpdir()), *source = strf("%s/root", test_tmpdir());
	struct import_options o = { .images_dir = images };
	struct import_result r = { 0 };
	_cleanup_close_ int root = make_root();
	json_t *report = NULL;
	struct err why = { 0 };

	if (geteuid() != 0) {
		test_skip("images are root's");
		return;
	}
	put(root, "bin/sh", 0755, "x");
	put(root, "home/a/secret", 0600, "x");
	put(root, "home/a/.netrc", 0600, "password x");
	fchownat(root, "home/a", 1234, 1234, 0); /* what only its owner reads is read as well */
	fchownat(root, "home/a/.netrc", 1234, 1234, 0);
	fchmodat(root, "home/a", 0700, 0);
	CHECK_OK(image_import(&o, STR("t"), source, &r, e));
	CHECK_OK(image_scan(images, STR("t"), &report, e));
	CHECK_STR(json_string_value(json_object_get(report, "digest")), r.digest);
	CHECK(json_is_false(json_object_get(report, "passed")));
	CHECK_STR(json_string_value(json_object_get(report, "reason")),
	          "1 finding of severity high: /home/a/.netrc holds passwords of hosts; `bloomery image scan t:latest` "
	          "shows all");
	json_decref(report);
	import_result_fini(&r);
	CHECK(image_scan(images, STR("none"), &report, &why) < 0 && why.kind == ERR_NOT_FOUND);
}
