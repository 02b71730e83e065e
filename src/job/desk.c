/* The table of hosts, their first words, and what they are to do. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/desk_inside.h"
#include "net/net.h"

enum { ELSEWHERE_MAX = 4096, HOLD_MOST_MS = 20000, INSTANCE_MAX = 64 };

struct desk *desk_new(const char *data_dir, int64_t patience_ms)
{
	struct desk *d = xcalloc(1, sizeof(*d));

	d->data_dir = xstrdup(data_dir);
	d->patience_ms = patience_ms;
	pthread_mutex_init(&d->shared.mu, NULL);
	pthread_mutex_init(&d->news_mu, NULL);
	return d;
}

void desk_host_free(struct desk_host *h)
{
	free(h->job);
	free(h->host_name);
	free(h->image);
	free(h->bucket);
	free(h->key);
	free(h->address);
	free(h);
}

void desk_free(struct desk *d)
{
	struct desk_host *h;

	if (!d)
		return;
	while ((h = d->shared.hosts)) {
		d->shared.hosts = h->next;
		desk_host_free(h);
	}
	pthread_mutex_destroy(&d->shared.mu);
	pthread_mutex_destroy(&d->news_mu);
	free(d->data_dir);
	free(d);
}

void desk_on_news(struct desk *d, void (*fn)(void *arg, const char *id), void *arg)
{
	pthread_mutex_lock(&d->news_mu);
	d->news = fn;
	d->news_arg = arg;
	pthread_mutex_unlock(&d->news_mu);
}

int64_t desk_hold_ms(const struct desk *d)
{
	return d->patience_ms / 3 < HOLD_MOST_MS ? d->patience_ms / 3 : HOLD_MOST_MS;
}

void desk_tell(struct desk *d, const char *id)
{
	pthread_mutex_lock(&d->news_mu);
	if (d->news)
		d->news(d->news_arg, id);
	pthread_mutex_unlock(&d->news_mu);
}

void desk_lock(struct desk *d)
{
	pthread_mutex_lock(&d->shared.mu);
}

void desk_unlock(struct desk *d)
{
	pthread_mutex_unlock(&d->shared.mu);
}

struct desk_host *desk_find_locked(struct desk *d, const char *id)
{
	struct desk_host *h = d->shared.hosts;

	while (h && strcmp(h->id, id) != 0)
		h = h->next;
	return h;
}

/* Numbers of an earlier bloomeryd are smaller, as long as its clock went on. */
uint64_t desk_version(uint64_t before)
{
	uint64_t now = (uint64_t)wall_now().ms;

	return now > before ? now : before + 1;
}

/* ---- the directory ---- */

int desk_dir(const struct desk *d, const char *id, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/jobs/%s", d->data_dir, id);
	int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no host %s here", id);
	return fd < 0 ? err_sys(e, "opening the directory of host %s", id) : fd;
}

bool desk_has(int dir, const char *leaf)
{
	return faccessat(dir, leaf, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool desk_begun(int dir, char **ret_address, char **ret_instance, int64_t *ret_skew_ms)
{
	_cleanup_buf_ struct buf text = { 0 };
	const char *address, *instance;
	json_t *j;

	if (file_read_plain(dir, "elsewhere", ELSEWHERE_MAX, &text, NULL) < 0 || !text.n)
		return false;
	j = json_loadb(text.p, text.n, 0, NULL);
	address = json_string_value(json_object_get(j, "address"));
	instance = json_string_value(json_object_get(j, "instance"));
	if (address && instance) {
		*ret_address = xstrdup(address);
		*ret_instance = xstrdup(instance);
		*ret_skew_ms = json_integer_value(json_object_get(j, "skew_ms"));
	}
	json_decref(j);
	return address && instance;
}

int desk_check_open(int dir, struct err *e)
{
	_cleanup_buf_ struct buf why = { 0 };

	if (!desk_has(dir, "elsewhere"))
		return err_set(e, ERR_NOT_FOUND, "the host is not one that is started by hand");
	if (file_read_plain(dir, "lost", ELSEWHERE_MAX, &why, NULL) == 0)
		return err_set(e, ERR_IN_USE, "this host counts as lost: " PRIstr, ARGstr(str_trim(buf_view(&why))));
	if (desk_has(dir, "exit"))
		return err_set(e, ERR_IN_USE, "this host was stopped before it was started");
	return 0;
}

int desk_check_complete(struct desk *d, struct err *e)
{
	bool complete;

	desk_lock(d);
	complete = d->shared.complete;
	desk_unlock(d);
	return complete ? 0 : err_set(e, ERR_BUSY, "bloomeryd has just been started and is looking at its jobs");
}

/* ---- the work order ---- */

int desk_spec(struct desk *d, const char *id, json_t **ret, struct err *e)
{
	_cleanup_close_ int dir = desk_dir(d, id, NULL);
	_cleanup_buf_ struct buf text = { 0 };
	bool known;
	json_t *j;

	desk_lock(d);
	known = desk_find_locked(d, id);
	desk_unlock(d);
	if (dir >= 0 && desk_check_open(dir, e) < 0)
		return -1;
	if (dir < 0 || !known)
		return err_set(
		        e, ERR_BUSY,
		        "there is no work order for this host: its job waits for capacity, is being prepared, or "
		        "has ended");
	if (file_read_plain(dir, "spec.json", SPEC_MAX_BYTES, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	explicit_bzero(text.p, text.n);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, ERR_IO, "spec.json of host %s is damaged", id);
	}
	*ret = j;
	return 0;
}

/* ---- hello ---- */

static uint64_t size_of(int dir, const char *leaf)
{
	struct stat st;

	return fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int begin_locked(struct desk_host *h, int dir, const struct desk_hello *hello, struct err *e)
{
	_cleanup_free_ char *address = NULL, *instance = NULL, *text = NULL;
	int64_t skew = wall_now().ms - hello->now.ms;
	int64_t had;
	json_t *j;
	int rc;

	if (desk_check_open(dir, e) < 0)
		return -1;
	if (desk_begun(dir, &address, &instance, &had) && strcmp(instance, hello->instance) != 0 &&
	    size_of(dir, "journal"))
		return err_set(e, ERR_CONFLICT, "this host has been started already, at %s", address);
	j = json_pack("{ss ss sI}", "address", hello->address, "instance", hello->instance, "skew_ms",
	              (json_int_t)skew);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)
		return err_set(e, ERR_INVALID, "the address or the instance is not UTF-8");
	rc = file_write_atomic(dir, "elsewhere", str_of(text), 0600, true, e);
	if (rc < 0)
		return -1;
	free(h->address);
	h->address = xstrdup(hello->address);
	h->skew_ms = skew;
	h->heard = true;
	return 0;
}

/* Their peers are complete, perhaps. */
static size_t new_versions_locked(struct desk *d, const char *job, char (*ids)[JOB_ID_BYTES], size_t room)
{
	size_t n = 0;

	for (struct desk_host *h = d->shared.hosts; h; h = h->next) {
		if (strcmp(h->job, job) != 0)
			continue;
		h->version = desk_version(h->version);
		if (n < room)
			memcpy(ids[n++], h->id, JOB_ID_BYTES);
	}
	return n;
}

static bool instance_ok(const char *s)
{
	size_t n = strlen(s);

	return n >= 8 && n <= INSTANCE_MAX && strspn(s, "0123456789abcdef-") == n;
}

int desk_hello(struct desk *d, const char *id, const struct desk_hello *hello, json_t **ret, struct err *e)
{
	enum { ROOM = 1000 };
	_cleanup_free_ char(*ids)[JOB_ID_BYTES] = xcalloc(ROOM, sizeof(*ids));
	_cleanup_free_ char *log = NULL;
	_cleanup_close_ int dir = desk_dir(d, id, e);
	struct desk_host *h;
	uint32_t address;
	size_t n = 0;
	int rc = -1;

	if (dir < 0)
		return -1;
	if (!net_address_parse(str_of(hello->address), &address))
		return err_set(e, ERR_INVALID, "'%.40s' is not an IPv4 address", hello->address);
	if (!instance_ok(hello->instance))
		return err_set(e, ERR_INVALID, "the instance is 8 to %d hex digits and hyphens", INSTANCE_MAX);
	if (hello->now.ms < 0 || hello->now.ms > FACT_TIME_MAX_MS)
		return err_set(e, ERR_INVALID, "that is no time of day");
	if (desk_check_complete(d, e) < 0)
		return -1;
	desk_lock(d);
	h = desk_find_locked(d, id);
	if (h) {
		rc = begin_locked(h, dir, hello, e);
		log = strf("log/%s", h->host_name);
		if (rc == 0)
			n = new_versions_locked(d, h->job, ids, ROOM);
	}
	desk_unlock(d);
	if (!h)
		return err_set(e, ERR_IN_USE, "nothing is to be done for this host any more, or not yet");
	for (size_t i = 0; i < n; i++)
		desk_tell(d, ids[i]);
	if (rc < 0)
		return -1;
	log_info("host %s: started at %s", id, hello->address);
	*ret = json_pack("{sI sI}", "journal", (json_int_t)size_of(dir, "journal"), "log",
	                 (json_int_t)size_of(dir, log));
	return 0;
}

/* ---- orders ---- */

bool desk_has_news(struct desk *d, const char *id, uint64_t seen)
{
	struct desk_host *h;
	bool news;

	desk_lock(d);
	h = desk_find_locked(d, id);
	if (h)
		h->heard = true;
	news = !h || h->version != seen; /* also without its row: desk_orders() says why */
	desk_unlock(d);
	return news;
}

/* In the order of numbers; NULL: not all are known yet. */
static json_t *peers_locked(const struct desk *d, const struct desk_host *of)
{
	json_t *peers = json_array();

	for (unsigned n = 1; n <= of->count; n++) {
		const struct desk_host *h = d->shared.hosts;

		while (h && (h->number != n || strcmp(h->job, of->job) != 0))
			h = h->next;
		if (!h || !h->address) {
			json_decref(peers);
			return NULL;
		}
		json_array_append_new(peers, json_pack("{ss ss}", "name", h->host_name, "address", h->address));
	}
	return peers;
}

int desk_orders(struct desk *d, const char *id, json_t **ret, struct err *e)
{
	static const char *const words[] = {
		[DESK_NONE] = "none", [DESK_GO] = "go", [DESK_PEER] = "stop", [DESK_STOP] = "stop"
	};
	_cleanup_close_ int dir = desk_dir(d, id, e);
	struct desk_host *h;
	json_t *j = NULL, *peers;

	if (dir < 0 || desk_check_open(dir, e) < 0 || desk_check_complete(d, e) < 0)
		return -1;
	desk_lock(d);
	h = desk_find_locked(d, id);
	if (h) {
		h->heard = true;
		j = json_pack("{sI ss}", "version", (json_int_t)h->version, "order", words[h->word]);
		if (h->word == DESK_PEER)
			json_object_set_new(j, "why", json_string("peer"));
		peers = peers_locked(d, h);
		if (peers)
			json_object_set_new(j, "peers", peers);
	}
	desk_unlock(d);
	if (!j) /* its end has been taken; only that was not heard there yet */
		j = json_pack("{si ss}", "version", 0, "order", "none");
	*ret = j;
	return 0;
}
