/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/loop.h"

/* The kernel forgets a death signal that was set before exec where exec changes credentials, so it is set here. A
 * starter that has died before has closed its end of the pipe, and then the write fails. */
int tell_ready(int fd, const char *line, struct err *e)
{
	int rc;

	if (fd < 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return err_sys(e, "asking for a signal when the starter dies");
	rc = fd_write_all(fd, line, strlen(line), e);
	close(fd);
	return rc < 0 ? err_in(e, "telling --ready-fd %d", fd) : 0;
}
