/* plot.h - curves in a terminal: a line of block characters, or a picture of braille dots. Pure; UTF-8.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* What lies in one interval of a curve. By t, which may be any number that grows; all finite. */
struct plot_point {
	double t, min, max, mean;
};

/* At most `width` columns, each the mean of some points one after the other; the lowest of all columns is the lowest
 * block. */
void plot_sparkline(const struct plot_point *p, size_t n, size_t width, struct buf *out);

struct plot_box {
	size_t width, height;  /* of the picture, in characters; each has 2 x 4 dots */
	const char *from, *to; /* what the time axis begins and ends with */
};
/* `height` lines with the scale at their left, one of the time axis: a dot column is what lies there from its lowest to
 * its highest value, and points are joined. */
void plot_braille(const struct plot_point *p, size_t n, const struct plot_box *box, struct buf *out);

/* Appends text as a terminal may get it: control bytes, and what is not UTF-8, become '?'. Returns how many columns it
 * takes, one a character. */
size_t plot_text(struct str text, struct buf *out);
/* "0.0312", "1.2e-05": for people, 6 digits. */
void plot_number(double v, struct buf *out);
