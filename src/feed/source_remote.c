/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/source.h"

int remote_new(const struct s3_target *t, struct remote **ret, struct err *e)
{
	(void)t;
	(void)ret;
	return err_set(e, ERR_BUG, "Pipe mode does not read from another S3 yet");
}
struct source *source_remote_new(struct remote *r, struct walk *w)
{
	(void)r;
	(void)w;
	must(0);
	return NULL;
}
