/* The settings of registries. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/conf_inside.h"

enum { ARN_MAX_BYTES = 2048, HOST_MAX_BYTES = 255 };

/* "registry_" and these and a '.'; by enum conf_registry_kind. */
static const char *const families[] = { "auth", "ca", "mirror", "credentials" };

void conf_registry_fini(struct conf_registry *r)
{
	free(r->name);
	free(r->value);
	free(r->where);
}

const struct conf_registry *conf_registry(const struct conf *c, enum conf_registry_kind kind, struct str name)
{
	for (size_t i = 0; i < c->registry_count; i++)
		if (c->registry[i].kind == kind &&
		    (kind == CONF_REGISTRY_CREDENTIALS ? str_is(name, c->registry[i].name)
		                                       : str_eq_nocase(name, str_of(c->registry[i].name))))
			return &c->registry[i];
	return NULL;
}

static bool all_of(struct str s, const char *others)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9') && !(c && strchr(others, c)))
			return false;
	}
	return true;
}

/* As it stands in an image's name: HOST or HOST:PORT. */
static bool is_host(struct str host)
{
	return host.n && host.n <= HOST_MAX_BYTES && host.p[0] != '-' && all_of(host, ".-:[]");
}

/* The shape TrainingRepositoryCredentialsProviderArn of the model: arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME */
static bool is_provider(struct str arn)
{
	struct str rest = arn, part[6];

	for (size_t i = 0; i < ARRAY_LEN(part); i++)
		part[i] = str_cut(&rest, ':');
	return arn.n <= ARN_MAX_BYTES && str_is(part[0], "arn") && part[1].n && all_of(part[1], "-") &&
	       str_is(part[2], "lambda") && part[3].n && all_of(part[3], "-") && part[4].n == 12 &&
	       str_is(part[5], "function") && rest.n;
}

static const char *bad_mirrors(struct str list)
{
	while (list.n) {
		struct str url = str_cut(&list, ' ');

		if (!url.n)
			continue;
		if (!str_skip(&url, STR("https://")) && !str_skip(&url, STR("http://")))
			return "is to be URLs that begin with https:// or http://";
		if (!is_host(str_cut(&url, '/')) || !all_of(url, "._-/"))
			return "is to be URLs of a host and perhaps a path, such as https://mirror.example:5000/hub";
	}
	return NULL;
}

static const char *bad_value(enum conf_registry_kind kind, struct str value)
{
	if (!value.n || str_has_byte(value, 0))
		return kind == CONF_REGISTRY_MIRROR ? "names no mirror" : "names no file";
	return kind == CONF_REGISTRY_MIRROR ? bad_mirrors(value) : NULL;
}

/* Others read the file, in another directory. */
static char *file_of(const char *path, struct str value)
{
	_cleanup_free_ char *file = conf_beside(path, value), *here = NULL;

	if (file[0] == '/' || !(here = getcwd(NULL, 0)))
		return take_ptr(file);
	return strf("%s/%s", here, file);
}

static int add(struct conf *c, enum conf_registry_kind kind, struct str name, struct str value, const char *path, int n,
               struct err *e)
{
	const char *bad = bad_value(kind, value);

	if (kind == CONF_REGISTRY_CREDENTIALS && !is_provider(name))
		return err_set(e, ERR_INVALID,
		               "%s:%d: '" PRIstr "' is not the ARN of a provider of credentials: "
		               "arn:aws:lambda:us-east-1:000000000000:function:NAME",
		               path, n, ARGstr(name));
	if (kind != CONF_REGISTRY_CREDENTIALS && !is_host(name))
		return err_set(e, ERR_INVALID,
		               "%s:%d: '" PRIstr "' is not a registry: HOST or HOST:PORT, as in the names of images",
		               path, n, ARGstr(name));
	if (conf_registry(c, kind, name))
		return err_set(e, ERR_INVALID, "%s:%d: registry_%s." PRIstr " is there twice", path, n, families[kind],
		               ARGstr(name));
	if (bad)
		return err_set(e, ERR_INVALID, "%s:%d: registry_%s." PRIstr " %s", path, n, families[kind],
		               ARGstr(name), bad);
	c->registry = xrealloc(c->registry, (c->registry_count + 1) * sizeof(*c->registry));
	c->registry[c->registry_count++] = (struct conf_registry){
		.kind = kind,
		.name = str_dup(name),
		.value = kind == CONF_REGISTRY_MIRROR ? str_dup(value) : file_of(path, value),
		.where = strf("registry_%s." PRIstr, families[kind], ARGstr(name)),
	};
	return 0;
}

bool conf_registry_line(struct conf *c, struct str key, struct str value, const char *path, int n, int *ret_rc,
                        struct err *e)
{
	struct str family = str_cut(&key, '.');

	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (str_is(family, families[i]) && key.n) {
			*ret_rc = add(c, (enum conf_registry_kind)i, key, value, path, n, e);
			return true;
		}
	return false;
}

void conf_registries_write(const struct conf *c, struct buf *out)
{
	if (c->registry_insecure && *c->registry_insecure)
		buf_f(out, "registry_insecure = %s\n", c->registry_insecure);
	for (size_t i = 0; i < c->registry_count; i++)
		buf_f(out, "%s = %s\n", c->registry[i].where, c->registry[i].value);
}
