/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "oci/reference.h"

enum { AUTH_FILE_MAX = 1 << 20, MIRRORS_MAX = 16 };

void registry_sources_fini(struct registry_sources *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->v[i].host);
		free(s->v[i].reference);
		if (s->v[i].auth_fd >= 0)
			close(s->v[i].auth_fd);
	}
	free(s->v);
	*s = (struct registry_sources){ 0 };
}

/* ---- who we are ---- */

static void wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->n);
	buf_fini(b);
}

#define _cleanup_wipe_ _cleanup_(wipe)

static struct str text_of(const json_t *object, const char *member)
{
	const json_t *v = json_object_get(object, member);

	return json_is_string(v) ? (struct str){ json_string_value(v), json_string_length(v) } : (struct str){ 0 };
}

/* Docker also writes "https://HOST/v1/" and the like, and has a name of old for its own registry. */
static bool entry_is(const char *key, struct str host)
{
	struct str k = str_of(key);

	if (!str_skip(&k, STR("https://")))
		(void)str_skip(&k, STR("http://"));
	k = str_cut(&k, '/');
	return str_eq_nocase(k, host) || (str_is(k, "index.docker.io") && str_is(host, "docker.io"));
}

static const json_t *entry_of(const json_t *auths, struct str host)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)auths, key, v)
		if (entry_is(key, host))
			return v;
	return NULL;
}

/* base64 of USERNAME:PASSWORD, as it is or to be made. */
static bool add_basic(const json_t *entry, const char *user, const char *password, struct buf *out)
{
	_cleanup_wipe_ struct buf plain = { 0 };
	struct str auth = text_of(entry, "auth"), name = text_of(entry, user), word = text_of(entry, password);

	if (auth.n && buf_unbase64(&plain, auth) && str_has_byte(buf_view(&plain), ':')) {
		buf_str(out, auth);
		return true;
	}
	if (!name.n || !word.n || str_has_byte(name, ':'))
		return false;
	buf_need(&plain, name.n + word.n + 2); /* one piece of memory, to be wiped */
	buf_f(&plain, PRIstr ":" PRIstr, ARGstr(name), ARGstr(word));
	buf_need(out, 2 * plain.n + 4);
	buf_base64(out, plain.p, plain.n);
	return true;
}

/* The entry of docker's file for that host. */
static int docker_entry(const json_t *j, const char *name, struct str host, const json_t **ret, struct err *e)
{
	const json_t *entry = entry_of(json_object_get(j, "auths"), host);

	if (!entry)
		return err_set(e, ERR_CLIENT, "%s has no entry for " PRIstr " in its \"auths\"", name, ARGstr(host));
	if (text_of(entry, "identitytoken").n || text_of(entry, "auth").n || text_of(entry, "username").n) {
		*ret = entry;
		return 0;
	}
	return err_set(e, ERR_CLIENT,
	               "%s has no password for " PRIstr
	               "%s; write {\"Username\": ..., \"Password\": ...} to a file of its own",
	               name, ARGstr(host),
	               json_object_get(j, "credsStore") || json_object_get(j, "credHelpers")
	                       ? ", which a credential helper keeps"
	                       : "");
}

static int check_registries(const json_t *j, const char *name, struct str host, struct err *e)
{
	const json_t *list = json_object_get(j, "Registries"), *v;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return err_set(e, ERR_CLIENT, "%s: Registries is to be a list of HOST or HOST:PORT", name);
	json_array_foreach (list, i, v)
		if (json_is_string(v) && str_eq_nocase(str_of(json_string_value(v)), host))
			return 0;
	return err_set(e, ERR_CLIENT, "%s is not for " PRIstr ", which its Registries do not name", name, ARGstr(host));
}

static void write_authfile(struct str host, const char *member, struct str secret, struct buf *out)
{
	_cleanup_free_ char *key = str_dup(host);
	json_t *all = json_pack("{s:{s:{s:s%}}}", "auths", key, member, secret.p, secret.n);
	char *text = json_dumps(all, JSON_COMPACT);

	json_decref(all);
	must(text);
	buf_need(out, strlen(text) + 1);
	buf_z(out, text);
	explicit_bzero(text, strlen(text));
	free(text);
}

static int write_auth(const json_t *j, const char *name, struct str host, struct buf *out, struct err *e)
{
	_cleanup_wipe_ struct buf basic = { 0 };
	const json_t *own = json_object_get(j, "Credentials"), *entry = own ? own : j;
	bool docker = json_is_object(json_object_get(j, "auths"));
	struct str token = { 0 };

	if (check_registries(j, name, host, e) < 0 || (docker && docker_entry(j, name, host, &entry, e) < 0))
		return -1;
	if (docker)
		token = text_of(entry, "identitytoken");
	if (!token.n && !add_basic(entry, docker ? "username" : "Username", docker ? "password" : "Password", &basic))
		return err_set(e, ERR_CLIENT,
		               "%s is to be {\"Username\": ..., \"Password\": ...}, both not empty and no ':' in the "
		               "name, or docker's config.json",
		               name);
	write_authfile(host, token.n ? "identitytoken" : "auth", token.n ? token : buf_view(&basic), out);
	return 0;
}

int registry_auth(struct str text, const char *name, struct str host, struct buf *out, struct err *e)
{
	json_error_t why;
	json_t *j = json_loadb(text.p, text.n, 0, &why);
	int rc;

	if (!json_is_object(j)) /* jansson's own words quote the text */
		rc = err_set(e, ERR_CLIENT, "%s: line %d: not a JSON object", name, j ? 1 : why.line);
	else
		rc = write_auth(j, name, host, out, e);
	json_decref(j);
	return rc;
}

/* ---- where ---- */

static int read_auth(const struct conf_registry *r, struct registry_source *s, struct err *e)
{
	_cleanup_wipe_ struct buf text = { 0 }, out = { 0 };
	_cleanup_free_ char *name = strf("%s: %s", r->where, r->value);
	_cleanup_close_ int fd = -EBADF;
	struct err why = { 0 };
	char words[512];

	buf_need(&text, AUTH_FILE_MAX);
	if (file_read(r->value, AUTH_FILE_MAX, &text, &why) < 0)
		return err_set(e, ERR_CLIENT, "%s: %s", r->where, err_text(&why, words, sizeof(words)));
	if (registry_auth(buf_view(&text), name, str_of(s->host), &out, e) < 0)
		return -1;
	fd = memfd_create("auth", MFD_CLOEXEC);
	if (fd < 0 || fd_write_all(fd, out.p, out.n, e) < 0)
		return fd < 0 ? err_sys(e, "keeping who we are to %s", s->host) : -1;
	s->auth_fd = take_fd(fd);
	return 0;
}

static bool is_loopback(struct str host)
{
	struct str name = host;

	if (str_skip(&name, STR("[::1]")))
		return true;
	name = str_cut(&name, ':');
	if (str_eq_nocase(name, STR("localhost")))
		return true;
	if (!str_starts(name, STR("127.")))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!strchr("0123456789.", name.p[i]))
			return false;
	return true;
}

static bool is_named(const char *list, struct str host)
{
	struct str rest = str_of(list ? list : "");

	while (rest.n)
		if (str_eq_nocase(str_cut(&rest, ' '), host))
			return true;
	return false;
}

/* Takes over reference. */
static int add_source(const struct conf *c, char *reference, const struct conf_registry *auth, bool mirror, bool plain,
                      struct registry_sources *to, struct err *e)
{
	const struct conf_registry *ca;
	struct registry_source *s;
	struct reference r;

	to->v = xrealloc(to->v, (to->n + 1) * sizeof(*to->v));
	s = &to->v[to->n++];
	*s = (struct registry_source){ .reference = reference, .mirror = mirror, .auth_fd = -EBADF };
	if (reference_parse(str_of(reference), &r, e) < 0)
		return err_in(e, "%s", reference);
	s->host = r.host.n ? str_dup(r.host) : xstrdup("docker.io");
	ca = conf_registry(c, CONF_REGISTRY_CA, str_of(s->host));
	s->ca = ca ? ca->value : NULL;
	s->insecure = !ca && (plain || is_named(c->registry_insecure, str_of(s->host)) ||
	                      (!mirror && is_loopback(str_of(s->host))));
	if (!auth)
		auth = conf_registry(c, CONF_REGISTRY_AUTH, str_of(s->host));
	return auth ? read_auth(auth, s, e) : 0;
}

/* The image's path, its tag and digest below the mirror's. */
static char *at_mirror(struct str url, const struct reference *r)
{
	while (url.n && url.p[url.n - 1] == '/')
		url.n--;
	if (!r->host.n && !str_has_byte(r->path, '/')) /* docker's own images */
		return r->digest.n ? strf(PRIstr "/library/" PRIstr "@sha256:" PRIstr, ARGstr(url), ARGstr(r->path),
		                          ARGstr(r->digest))
		                   : strf(PRIstr "/library/" PRIstr ":" PRIstr, ARGstr(url), ARGstr(r->path),
		                          ARGstr(r->tag));
	return r->digest.n ? strf(PRIstr "/" PRIstr "@sha256:" PRIstr, ARGstr(url), ARGstr(r->path), ARGstr(r->digest))
	                   : strf(PRIstr "/" PRIstr ":" PRIstr, ARGstr(url), ARGstr(r->path), ARGstr(r->tag));
}

static int add_mirrors(const struct conf *c, const struct reference *r, struct registry_sources *to, struct err *e)
{
	const struct conf_registry *m = conf_registry(c, CONF_REGISTRY_MIRROR, r->host.n ? r->host : STR("docker.io"));
	struct str list = m ? str_of(m->value) : (struct str){ 0 };

	while (list.n) {
		struct str url = str_cut(&list, ' ');
		bool plain = str_skip(&url, STR("http://"));

		if (!url.n)
			continue;
		(void)str_skip(&url, STR("https://"));
		if (to->n == MIRRORS_MAX)
			return err_set(e, ERR_CLIENT, "%s: there can be %d mirrors at most", m->where, MIRRORS_MAX);
		if (add_source(c, at_mirror(url, r), NULL, true, plain, to, e) < 0)
			return err_in(e, "%s", m->where);
	}
	return 0;
}

int registry_find(const struct conf *c, const char *reference, const char *provider, struct registry_sources *ret,
                  struct err *e)
{
	const struct conf_registry *given = provider ? conf_registry(c, CONF_REGISTRY_CREDENTIALS, str_of(provider))
	                                             : NULL;
	struct registry_sources all = { 0 };
	struct reference r;
	int rc;

	if (provider && !given)
		return err_set(e, ERR_CLIENT,
		               "bloomery.conf has no registry_credentials.%s, which the training job names as its "
		               "TrainingRepositoryCredentialsProviderArn",
		               provider);
	if (reference_parse(str_of(reference), &r, e) < 0)
		return -1;
	rc = add_mirrors(c, &r, &all, e);
	if (rc == 0)
		rc = add_source(c, xstrdup(reference), given, false, false, &all, e);
	if (rc < 0)
		registry_sources_fini(&all);
	else
		*ret = all;
	return rc;
}

/* ---- what to do about it ---- */

static bool says(const char *reason, const char *word)
{
	return str_find(str_of(reason), str_of(word)) >= 0;
}

char *registry_advice(const struct registry_source *s, const char *reason)
{
	if (says(reason, "signed by unknown authority"))
		return strf("name the authority's certificate with registry_ca.%s in bloomery.conf", s->host);
	if (says(reason, "certificate has expired"))
		return strf("the certificate of %s is to be renewed", s->host);
	if (says(reason, "HTTP response to HTTPS client"))
		return strf("%s does not speak TLS; registry_insecure in bloomery.conf allows that", s->host);
	if (!says(reason, "unauthorized") && !says(reason, "authentication required") && !says(reason, "denied"))
		return NULL;
	if (s->auth_fd >= 0)
		return strf("%s does not take the name and password that bloomery.conf has for it, or does not let "
		            "them have this image",
		            s->host);
	return strf("give a name and password with registry_auth.%s in bloomery.conf, or with TrainingImageConfig",
	            s->host);
}
