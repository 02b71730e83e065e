/* command_scan.h - how `bloomery-image scan` tells people what it has found.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

/* What image_scan says, as text on standard output: the verdict first, then findings by weight, then packages. At most
 * `most` findings of low severity; 0: all. */
void scan_print(const json_t *report, unsigned most);
