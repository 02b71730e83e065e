/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <sys/prctl.h>
#include <sys/resource.h>

void no_core_dump(void)
{
	prctl(PR_SET_DUMPABLE, 0);
}

/* Of a limit of 0 the kernel still gives the dump to a core_pattern that is a pipe; of 1 to nobody. */
void no_core_dumps_below(void)
{
	struct rlimit limit;

	no_core_dump();
	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max = limit.rlim_max ? 1 : 0;
	(void)setrlimit(RLIMIT_CORE, &limit);
}
