/* bloomery-image: imports, pulls, lists and removes images (oci/import.h tells how it is called).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/command.h"

int main(int argc, char **argv)
{
	return image_command(argc, argv);
}
