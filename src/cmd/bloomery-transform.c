/* bloomery-transform: the records of objects to a serving container and its answers to files, see
 * transform/transform.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "transform/transform.h"

int main(int argc, char **argv)
{
	(void)argv;
	if (argc != 1) {
		fputs("usage: bloomery-transform   (the work order, a JSON object, on stdin)\n", stderr);
		return 2;
	}
	prctl(PR_SET_NAME, "bloomery-transf");
	no_core_dumps_below(); /* it would hold keys */
	log_init("bloomery-transform", LOG_INFO);
	return transform_main(STDIN_FILENO, STDOUT_FILENO);
}
