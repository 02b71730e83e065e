/* bloomery: the command line, for people. See cli/cli.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/secret.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
	log_init("bloomery", LOG_INFO);
	no_core_dump(); /* it would hold the server's key */
	return cli_main(argc, argv);
}
