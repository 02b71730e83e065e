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
	const struct rlimit nobody = { 1, 1 };

	no_core_dump();
	(void)setrlimit(RLIMIT_CORE, &nobody); /* fails where it is 0 for good */
}
