/* SPDX-License-Identifier: Apache-2.0 */
#include "op/daemon.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"

enum { ID_LETTERS = 16, SECRET_CHARACTERS = 40, CREDENTIALS_MAX = 4096 };

static int refuse_second(const char *path, const char *data_dir, struct err *e)
{
	_cleanup_buf_ struct buf pid = { 0 };

	if (file_read(path, 64, &pid, NULL) < 0)
		buf_reset(&pid);
	return err_set(e, ERR_IN_USE, "another bloomeryd (pid " PRIstr ") serves %s; stop it, or use another --data",
	               ARGstr(str_trim(buf_view(&pid))), data_dir);
}

int daemon_take_directory(const char *data_dir, int *ret_lock_fd, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/lock", data_dir), *pid = strf("%d\n", (int)getpid());
	_cleanup_close_ int fd = -EBADF, dir = -EBADF;

	if (mkdir_all(AT_FDCWD, data_dir, 0755, e) < 0)
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? refuse_second(path, data_dir, e) : err_sys(e, "locking %s", path);
	/* Not by rename: the lock is on this very file. */
	if (ftruncate(fd, 0) < 0)
		return err_sys(e, "writing %s", path);
	if (fd_write_all(fd, pid, strlen(pid), e) < 0)
		return err_in(e, "writing %s", path);
	dir = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "opening %s", data_dir);
	/* Data and logs are for us and for root; what others may have, the API gives them. */
	if (mkdir_all(dir, "jobs", 0700, e) < 0 || mkdir_all(dir, "objects", 0700, e) < 0 ||
	    mkdir_all(dir, "images", 0755, e) < 0 || mkdir_all(dir, "pins", 0755, e) < 0)
		return err_in(e, "%s", data_dir);
	*ret_lock_fd = take_fd(fd);
	return 0;
}

/* ---- the key ---- */

void access_key_fini(struct access_key *k)
{
	if (k->secret)
		explicit_bzero(k->secret, strlen(k->secret));
	free(k->id);
	free(k->secret);
	free(k->token);
	free(k->arn);
	memset(k, 0, sizeof(*k));
}

static void random_text(struct buf *out, const char *alphabet, size_t letters, size_t n)
{
	while (n) {
		unsigned char byte;

		random_bytes(&byte, 1);
		if (byte >= 256 / letters * letters) /* every letter alike */
			continue;
		buf_c(out, alphabet[byte % letters]);
		n--;
	}
}

/* The shape of AWS's: clients check it. */
static int make_key(int dir, struct err *e)
{
	static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	_cleanup_buf_ struct buf text = { 0 };
	int rc;

	buf_z(&text, "{\"access_key\":\"AKIA");
	random_text(&text, base32, 32, ID_LETTERS);
	buf_z(&text, "\",\"secret_key\":\"");
	random_text(&text, base64, 64, SECRET_CHARACTERS);
	buf_z(&text, "\"}\n");
	rc = file_write_atomic(dir, "credentials", buf_view(&text), 0600, true, e);
	explicit_bzero(text.p, text.n);
	return rc < 0 ? err_in(e, "making the key of the API") : 0;
}

static int parse_key(struct str text, const char *account, struct access_key *ret, struct err *e)
{
	json_t *j = json_loadb(text.p, text.n, 0, NULL);
	const char *id = json_string_value(json_object_get(j, "access_key"));
	const char *secret = json_string_value(json_object_get(j, "secret_key"));

	if (!id || !*id || !secret || !*secret) {
		json_decref(j);
		return err_set(e, ERR_INVALID,
		               "is to be {\"access_key\":\"...\",\"secret_key\":\"...\"}; remove it to "
		               "have a new key made");
	}
	*ret = (struct access_key){ .id = xstrdup(id),
		                    .secret = xstrdup(secret),
		                    .arn = strf("arn:aws:sts::%s:assumed-role/bloomery/operator", account) };
	json_decref(j);
	return 0;
}

int daemon_key(const char *data_dir, const char *account, struct access_key *ret, struct err *e)
{
	_cleanup_close_ int dir = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	struct err why = { 0 };

	if (dir < 0)
		return err_sys(e, "opening %s", data_dir);
	if (file_read_at(dir, "credentials", CREDENTIALS_MAX, &text, &why) < 0) {
		if (why.kind != ERR_NOT_FOUND) {
			if (e)
				*e = why;
			return -1;
		}
		if (make_key(dir, e) < 0 || file_read_at(dir, "credentials", CREDENTIALS_MAX, &text, e) < 0)
			return -1;
	}
	if (parse_key(buf_view(&text), account, ret, e) < 0)
		return err_in(e, "%s/credentials", data_dir);
	explicit_bzero(text.p, text.n);
	return 0;
}

/* ---- where it listens ---- */

int daemon_parse_listen(const char *text, char **ret_addr, uint16_t *ret_port, struct err *e)
{
	struct str addr = str_of(text), port = str_cut_last(&addr, ':');
	uint64_t n;

	if (addr.n >= 2 && addr.p[0] == '[' && addr.p[addr.n - 1] == ']')
		addr = (struct str){ addr.p + 1, addr.n - 2 };
	else if (str_has_byte(addr, ':'))
		addr.n = 0; /* whose colon is it? */
	if (!addr.n || !str_to_u64(port, &n) || n > 65535)
		return err_set(e, ERR_INVALID,
		               "'%s' is no address to listen on; write it as 127.0.0.1:8770 or [::1]:8770", text);
	*ret_addr = str_dup(addr);
	*ret_port = (uint16_t)n;
	return 0;
}

char *daemon_address(const char *addr, uint16_t port)
{
	return strchr(addr, ':') ? strf("[%s]:%u", addr, port) : strf("%s:%u", addr, port);
}

char *daemon_url(const char *addr, uint16_t port)
{
	const char *to = !strcmp(addr, "0.0.0.0") ? "127.0.0.1" : !strcmp(addr, "::") ? "::1" : addr;
	_cleanup_free_ char *where = daemon_address(to, port);

	return strf("http://%s", where);
}

int daemon_write_endpoint(const char *data_dir, const char *url, struct err *e)
{
	_cleanup_close_ int dir = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *line = strf("%s\n", url);

	if (dir < 0)
		return err_sys(e, "opening %s", data_dir);
	if (file_write_atomic(dir, "endpoint", str_of(line), 0644, false, e) < 0)
		return err_in(e, "telling where we listen");
	return 0;
}
