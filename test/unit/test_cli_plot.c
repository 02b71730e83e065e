/* Curves in a terminal, and what `bloomery metrics` makes of the server's answer. SPDX-License-Identifier: Apache-2.0
 */
#include "cli/plot.h"

#include <math.h>
#include <stdlib.h>

#include "cli/metrics.h"
#include "harness.h"

static void ramp(struct plot_point *p, size_t n, double from, double to)
{
	for (size_t i = 0; i < n; i++) {
		double v = from + (to - from) * (double)i / (double)(n - 1);

		p[i] = (struct plot_point){ (double)i, v, v, v };
	}
}

TEST(a_sparkline_goes_from_the_lowest_to_the_highest_block)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct plot_point p[80];

	ramp(p, 8, 0, 7);
	plot_sparkline(p, 8, 8, &out);
	CHECK_STR(out.p, "▁▂▃▄▅▆▇█");
	buf_reset(&out);
	ramp(p, 80, 1, -1);
	plot_sparkline(p, 80, 8, &out);
	CHECK_STR(out.p, "█▇▆▅▄▃▂▁");
}

TEST(a_sparkline_of_little)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct plot_point p[3] = { { 0, 5, 5, 5 }, { 1, 5, 5, 5 }, { 2, 5, 5, 5 } };

	plot_sparkline(p, 0, 8, &out);
	CHECK_INT(out.n, 0);
	plot_sparkline(p, 3, 8, &out);
	CHECK_STR(out.p, "▅▅▅");
	buf_reset(&out);
	p[0].mean = -1.7e308; /* whose difference is no double */
	p[2].mean = 1.7e308;
	plot_sparkline(p, 3, 8, &out);
	CHECK_STR(out.p, "▁▅█");
}

TEST(a_picture_of_dots)
{
	const struct plot_box box = { 40, 8, "2026-11-21 08:00:00", "2026-11-21 09:00:00" };
	_cleanup_buf_ struct buf out = { 0 };
	struct plot_point p[200];

	for (size_t i = 0; i < 200; i++) {
		double t = (double)i / 199, v = 2.5 * exp(-4 * t) + 0.1;

		p[i] = (struct plot_point){ t * 3600, v * 0.9, v * 1.1, v };
	}
	plot_braille(p, 200, &box, &out);
	buf_z(&out, "--\n");
	ramp(p, 2, 0, 1);
	plot_braille(p, 2, &(struct plot_box){ 10, 3, "first", "last of 2" }, &out);
	buf_z(&out, "--\n");
	plot_braille(p, 1, &(struct plot_box){ 10, 2, "a", "b" }, &out);
	plot_braille(p, 0, &(struct plot_box){ 10, 2, "a", "b" }, &out);
	CHECK_GOLDEN("cli_plot.txt", buf_view(&out));
}

TEST(what_could_take_over_a_terminal_is_not_shown)
{
	_cleanup_buf_ struct buf out = { 0 };

	CHECK_INT(plot_text(STR("a\x1b[2Jb\nc\x7f"), &out), 9);
	CHECK_STR(out.p, "a?[2Jb?c?");
	buf_reset(&out);
	CHECK_INT(plot_text(STR("größe \xc2\x9b"
	                        "31m \xff \xe2\x80\xae \xe2\x82"),
	                    &out),
	          17);
	CHECK_STR(out.p, "größe ?31m ? ? ??");
}

/* ---- the table ---- */

static const char answer[] =
        "{\"TrainingJobName\":\"demo\",\"TrainingJobStatus\":\"InProgress\",\"Ended\":false,\"Hosts\":2,\"Metrics\":["
        "{\"Name\":\"loss\",\"Host\":\"algo-1\",\"Count\":12345,\"Last\":0.25,\"Min\":0.1,\"Max\":2.5,\"First\":"
        "1795250000.5,\"LastTime\":1795250600,\"Points\":[[1795250000.5,2.5,2.5,2.5],[1795250300,0.1,1,0.5],["
        "1795250600,0.25,0.25,0.25]]},"
        "{\"Name\":\"loss\",\"Host\":\"algo-2\",\"Count\":1,\"Last\":-1e-7,\"Min\":-1e-7,\"Max\":-1e-7,\"First\":"
        "1795250000,\"LastTime\":1795350000,\"Points\":[[1795250000,-1e-7,-1e-7,-1e-7]]},"
        "{\"Name\":\"\\u001b]0;x\",\"Count\":0,\"Last\":0,\"Min\":0,\"Max\":0,\"First\":0,\"LastTime\":0,"
        "\"Points\":[]}],"
        "\"Definitions\":[{\"Name\":\"loss\",\"Regex\":\"loss=(.*)\",\"Lines\":20000,\"Matched\":12346,\"Refused\":3,"
        "\"LastRefused\":\"nan\",\"Why\":\"is not a number\",\"Limited\":1},"
        "{\"Name\":\"acc\",\"Regex\":\"acc: (.*)\",\"Lines\":20000,\"Matched\":0,\"Refused\":0,\"Limited\":0,"
        "\"Nearest\":\"acc=1\"}],\"Refitted\":true}";

static void show(const char *text, size_t columns, bool plot, struct buf *out)
{
	const struct metrics_look look = { columns, plot };
	json_t *j = json_loads(text, 0, NULL);

	CHECK(j);
	metrics_show(j, &look, out);
	json_decref(j);
}

TEST(a_table_of_metrics)
{
	_cleanup_buf_ struct buf out = { 0 };

	show(answer, 100, true, &out);
	buf_z(&out, "--\n");
	show(answer, 20, false, &out);
	buf_z(&out, "--\n");
	show("{}", 80, true, &out); /* of another server */
	show("{\"TrainingJobName\":\"x\",\"TrainingJobStatus\":\"Failed\",\"Ended\":true,\"Metrics\":[]}", 80, true,
	     &out);
	CHECK_GOLDEN("cli_metrics.txt", buf_view(&out));
}

TEST(what_gnuplot_is_told_holds_names_that_are_only_text)
{
	_cleanup_buf_ struct buf out = { 0 };
	json_t *j = json_loads("{\"TrainingJobName\":\"demo\",\"Metrics\":[{\"Name\":\"it's `rm -rf` \\\\ \\n\\\"; "
	                       "system('x')\",\"Points\":[[1.5,0.1,0.3,0.2],[2,1e300,1e300,1e300]]}]}",
	                       0, NULL);

	CHECK(j);
	metrics_png_script(j, "/proc/self/fd/9", &out);
	json_decref(j);
	CHECK_GOLDEN("cli_png.gnuplot", buf_view(&out));
}
