/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/near.h"

enum { LINE_MAX_BYTES = 250, TEXT_MAX_BYTES = 128, SCORE_MIN = 3 };

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The longest piece that both have; with one row of the usual table, as a place in it needs its left neighbour above.
 */
static unsigned longest_common(struct str a, struct str b)
{
	unsigned row[TEXT_MAX_BYTES + 1] = { 0 }, best = 0;

	for (size_t i = 0; i < b.n; i++) {
		char c = fold(b.p[i]);

		for (size_t k = a.n; k-- > 0;) {
			row[k + 1] = fold(a.p[k]) == c ? row[k] + 1 : 0;
			if (row[k + 1] > best)
				best = row[k + 1];
		}
	}
	return best;
}

unsigned near_score(struct str regex, const struct literal_set *literals, struct str line)
{
	unsigned best = 0;

	line.n = line.n < LINE_MAX_BYTES ? line.n : LINE_MAX_BYTES;
	regex.n = regex.n < TEXT_MAX_BYTES ? regex.n : TEXT_MAX_BYTES;
	if (!literals->n)
		best = longest_common(regex, line);
	for (size_t i = 0; i < literals->n; i++) {
		unsigned score = longest_common((struct str){ literals->at[i].bytes, literals->at[i].n }, line);

		best = score > best ? score : best;
	}
	return best >= SCORE_MIN ? best : 0;
}
