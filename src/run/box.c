/* The boxes of a host: what the work order says of them, and their logs. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"

/* TrainingImageConfig: by which name bloomery.conf has the credentials for the image's registry. */
static const char *provider_of(const struct run *r)
{
	const json_t *config = json_object_get(json_object_get(r->spec.request, "AlgorithmSpecification"),
	                                       "TrainingImageConfig");

	return json_string_value(json_object_get(json_object_get(config, "TrainingRepositoryAuthConfig"),
	                                         "TrainingRepositoryCredentialsProviderArn"));
}

static void box_init(struct run *r, size_t at)
{
	const struct container_spec *c = r->spec.container_count ? &r->spec.containers[at] : NULL;
	struct box *b = &r->box[at];

	*b = (struct box){ .run = r, .image_fd = -EBADF, .network_ns = -EBADF };
	b->path = at ? strf("box-%zu/", at + 1) : xstrdup("");
	b->hostname = c ? c->name : r->spec.host_name;
	b->image_name = c ? c->image : r->spec.image;
	b->image_provider = c ? c->image_provider : provider_of(r);
	b->cgroup = r->spec.container_count > 1 ? strf("%s/%zu", r->cgroup, at + 1) : xstrdup(r->cgroup);
}

void boxes_init(struct run *r)
{
	boxes_fini(r);
	r->box_count = spec_is_transform(&r->spec) ? r->spec.container_count : 1;
	for (size_t i = 0; i < r->box_count; i++)
		box_init(r, i);
}

void boxes_fini(struct run *r)
{
	struct err e = { 0 };

	for (size_t i = 0; i < r->box_count; i++) {
		struct box *b = &r->box[i];

		if (b->log && b->log != r->log && joblog_close(b->log, &e) < 0)
			log_err(LOG_WARN, &e, "closing the log of %s", b->hostname);
		if (b->own_network)
			cleanup_closep(&b->network_ns);
		cleanup_closep(&b->image_fd);
		image_fini(&b->image);
		strv_free(b->args);
		free(b->cgroup);
		free(b->path);
	}
	r->box_count = 0;
}

char *box_path(const struct box *b, const char *leaf)
{
	return strf("%s%s", b->path, leaf);
}

/* One container prints into the log of the host, several each into one of its own; what we have to say is in the first
 * of them. */
int boxes_open_logs(struct run *r, int log_dirfd, struct err *e)
{
	for (size_t i = 0; i < r->box_count; i++) {
		struct box *b = &r->box[i];
		/* what was looked at, whatever it is called now */
		_cleanup_free_ char *path = strf("/proc/self/fd/%d/%s", log_dirfd,
		                                 r->box_count > 1 ? b->hostname : r->spec.host_name);

		if (joblog_open(path, &b->log, e) < 0)
			return -1;
		if (i == 0)
			r->log = b->log;
	}
	return 0;
}
