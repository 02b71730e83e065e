/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cleanup_freep(void *p)
{
	void *q;

	memcpy(&q, p, sizeof(q));
	free(q);
}

void cleanup_closep(int *fd)
{
	int keep = errno;

	if (*fd >= 0)
		close(*fd);
	errno = keep;
}
