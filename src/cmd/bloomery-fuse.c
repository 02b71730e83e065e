/* bloomery-fuse: a FastFile channel as a file system; see fuse/fastfile.h.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "fuse/fastfile.h"

int main(int argc, char **argv)
{
	(void)argv;
	if (argc != 1) {
		fputs("usage: bloomery-fuse   (the work order, a JSON object, on stdin)\n", stderr);
		return 2;
	}
	log_init("bloomery-fuse", LOG_INFO);
	return fastfile_main(STDIN_FILENO, STDOUT_FILENO);
}
