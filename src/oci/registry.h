/* registry.h - where an image is fetched from, and as whom: what bloomery.conf says about registries (base/conf.h),
 * made ready for skopeo.
 *
 * Used by pull in bloomery-image, as root. A secret is read from its file when it is needed and only ever put into
 * anonymous memory, which skopeo reads through a descriptor: it is in no argument, no environment, no file and no
 * sentence. Who we are to one registry is not told to another.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/conf.h"

/* One place to ask. */
struct registry_source {
	char *host;      /* of the registry; "docker.io" when the image's name has none */
	char *reference; /* of the image, there */
	bool mirror;
	bool insecure;  /* without TLS, or without looking who it is: said so, or on this machine itself */
	const char *ca; /* a file of certificates; NULL: those that the machine trusts. The configuration's */
	int auth_fd;    /* what skopeo calls an authfile, in memory; -EBADF: whom the machine is logged in as */
};
struct registry_sources {
	struct registry_source *v;
	size_t n;
};
void registry_sources_fini(struct registry_sources *s);

/* The mirrors of the reference's registry, then that itself. provider: the ARN by which the job names its credentials
 * for the registry (not for mirrors); NULL: it names none, and registry_auth holds. ERR_CLIENT: a sentence about the
 * line or the file, never with what is in it. */
int registry_find(const struct conf *c, const char *reference, const char *provider, struct registry_sources *ret,
                  struct err *e) must_check;

/* What such a file says: {"Username": ..., "Password": ...}, the same below "Credentials", as a Lambda function of the
 * service would answer, or docker's config.json, of which the entry of that host is taken. A member "Registries", a
 * list of HOST[:PORT], keeps it from all others. out gets skopeo's authfile for that host. name: for sentences. */
int registry_auth(struct str text, const char *name, struct str host, struct buf *out, struct err *e) must_check;

/* A hint what to do about skopeo's words; NULL: nothing known. malloc'd. */
char *registry_advice(const struct registry_source *s, const char *reason);
