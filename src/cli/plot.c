/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCALE_COLUMNS = 11, LEVELS = 8 };

/* ---- text ---- */

/* Whether it is a control character, or one that turns the order of what follows: U+0080 to U+009F, U+202A to U+202E,
 * U+2066 to U+2069. */
static bool is_control(const char *p, size_t n)
{
	unsigned char c = (unsigned char)p[0], last = (unsigned char)p[n - 1];

	if (n == 1)
		return c < 0x20 || c == 0x7f;
	if (n == 2)
		return c == 0xc2 && last < 0xa0;
	return n == 3 && ((!memcmp(p, "\xe2\x80", 2) && last >= 0xaa && last <= 0xae) ||
	                  (!memcmp(p, "\xe2\x81", 2) && last >= 0xa6 && last <= 0xa9));
}

size_t plot_text(struct str text, struct buf *out)
{
	size_t columns = 0;

	for (; text.n; columns++) {
		unsigned char c = (unsigned char)text.p[0];
		size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		bool valid = n <= text.n && utf8_valid((struct str){ text.p, n });

		if (!valid)
			n = 1;
		if (valid && !is_control(text.p, n))
			buf_add(out, text.p, n);
		else
			buf_c(out, '?');
		text.p += n;
		text.n -= n;
	}
	return columns;
}

void plot_number(double v, struct buf *out)
{
	buf_f(out, "%.6g", v == 0 ? 0 : v); /* not "-0" */
}

/* ---- a line of blocks ---- */

/* Half of each, so that the difference of what is finite is. */
static double share(double v, double low, double high)
{
	return high > low ? (v / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
}

void plot_sparkline(const struct plot_point *p, size_t n, size_t width, struct buf *out)
{
	size_t columns = n < width ? n : width;
	_cleanup_free_ double *mean = xcalloc(columns + 1, sizeof(*mean));
	double low = INFINITY, high = -INFINITY;

	for (size_t i = 0; i < columns; i++) {
		size_t from = i * n / columns, to = (i + 1) * n / columns;

		for (size_t k = from; k < to; k++)
			mean[i] += p[k].mean / (double)(to - from);
		low = mean[i] < low ? mean[i] : low;
		high = mean[i] > high ? mean[i] : high;
	}
	for (size_t i = 0; i < columns; i++) {
		size_t level = (size_t)(share(mean[i], low, high) * (LEVELS - 1) + 0.5);

		/* U+2581 to U+2588 */
		buf_f(out, "\xe2\x96%c", (char)(0x81 + (level < LEVELS ? level : LEVELS - 1)));
	}
}

/* ---- dots ---- */

struct canvas {
	size_t width, height; /* dots */
	unsigned char *cells; /* of 2 x 4 dots */
};

static void dot(struct canvas *c, size_t x, size_t y)
{
	static const unsigned char bits[4][2] = { { 0x01, 0x08 }, { 0x02, 0x10 }, { 0x04, 0x20 }, { 0x40, 0x80 } };

	if (x < c->width && y < c->height)
		c->cells[y / 4 * (c->width / 2) + x / 2] |= bits[y % 4][x % 2];
}

static void line(struct canvas *c, long x, long y, long to_x, long to_y)
{
	long steps = labs(to_x - x) > labs(to_y - y) ? labs(to_x - x) : labs(to_y - y);

	for (long i = 0; i <= steps; i++)
		dot(c, (size_t)(x + (steps ? lround((double)(to_x - x) * (double)i / (double)steps) : 0)),
		    (size_t)(y + (steps ? lround((double)(to_y - y) * (double)i / (double)steps) : 0)));
}

static long place(double v, double low, double high, size_t dots)
{
	return lround(share(v, low, high) * (double)(dots - 1));
}

static void draw(struct canvas *c, const struct plot_point *p, size_t n, double low, double high)
{
	long bottom = (long)c->height - 1, last_x = 0, last_y = 0;

	for (size_t i = 0; i < n; i++) {
		long x = place(p[i].t, p[0].t, p[n - 1].t, c->width);
		long y = bottom - place(p[i].mean, low, high, c->height);

		line(c, x, bottom - place(p[i].min, low, high, c->height), x,
		     bottom - place(p[i].max, low, high, c->height));
		if (i)
			line(c, last_x, last_y, x, y);
		last_x = x;
		last_y = y;
	}
}

static void scale(double v, struct buf *out)
{
	_cleanup_buf_ struct buf text = { 0 };

	plot_number(v, &text);
	buf_f(out, "%*s", SCALE_COLUMNS, text.p);
}

static void row(const struct canvas *c, size_t y, size_t rows, double low, double high, struct buf *out)
{
	bool ends = high > low && (y == 0 || y == rows - 1);
	bool told = ends || (y == rows / 2 && (rows > 4 || high <= low));

	if (told)
		scale(y == 0          ? high
		      : y == rows - 1 ? low
		                      : high - (high - low) * ((double)y + 0.5) / (double)rows,
		      out);
	else
		buf_f(out, "%*s", SCALE_COLUMNS, "");
	buf_z(out, told ? " ┤" : " │");
	for (size_t x = 0; x < c->width / 2; x++) {
		unsigned char bits = c->cells[y * (c->width / 2) + x];

		/* U+2800 and more; a blank for none, which every font has */
		if (bits)
			buf_f(out, "\xe2%c%c", (char)(0xa0 + (bits >> 6)), (char)(0x80 + (bits & 0x3f)));
		else
			buf_c(out, ' ');
	}
	while (out->n && out->p[out->n - 1] == ' ')
		out->p[--out->n] = 0;
	buf_c(out, '\n');
}

void plot_braille(const struct plot_point *p, size_t n, const struct plot_box *box, struct buf *out)
{
	struct canvas c = { .width = 2 * box->width, .height = 4 * box->height };
	double low = INFINITY, high = -INFINITY;
	size_t ends = strlen(box->from) + strlen(box->to);

	if (!n || !box->width || !box->height)
		return;
	for (size_t i = 0; i < n; i++) {
		low = p[i].min < low ? p[i].min : low;
		high = p[i].max > high ? p[i].max : high;
	}
	c.cells = xcalloc(box->width * box->height, 1);
	draw(&c, p, n, low, high);
	for (size_t y = 0; y < box->height; y++)
		row(&c, y, box->height, low, high, out);
	free(c.cells);
	buf_f(out, "%*s └", SCALE_COLUMNS, "");
	for (size_t x = 0; x < box->width; x++)
		buf_z(out, "─");
	buf_f(out, "\n%*s  %s%*s%s\n", SCALE_COLUMNS, "", box->from, box->width > ends ? (int)(box->width - ends) : 1,
	      "", box->to);
}
