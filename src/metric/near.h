/* near.h - which line nearly matched an expression that matches none: the one that shares the longest piece of text
 * with what it looks for. A hint for people, not a proof; cheap rather than complete.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/literal.h"

/* How many neighbouring bytes, whatever their case, the line shares with the longest of the literals, or with the
 * expression itself when there are none; 0 when it is fewer than three. Looks at the first 250 bytes. */
unsigned near_score(struct str regex, const struct literal_set *literals, struct str line);
