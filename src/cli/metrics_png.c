/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aws/wire.h"
#include "base/fd.h"
#include "cli/metrics.h"
#include "loop/loop.h"

enum { PLOTS_MAX = 24, PANEL_WIDTH = 900, PANEL_HEIGHT = 320, PNG_MAX_BYTES = 64 << 20, SAID_MAX_BYTES = 4096 };

static char *find_gnuplot(void)
{
	const char *env = getenv("PATH");
	struct str rest = str_of(env ? env : "/usr/local/bin:/usr/bin:/bin");

	while (rest.n) {
		struct str dir = str_cut(&rest, ':');
		char *path = strf(PRIstr "/gnuplot", ARGstr(dir));

		if (dir.n && access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* In single quotes gnuplot takes everything for what it is, but the quote. */
static void quoted(struct str text, struct buf *out)
{
	_cleanup_buf_ struct buf shown = { 0 };

	plot_text(text, &shown);
	buf_c(out, '\'');
	for (size_t i = 0; i < shown.n; i++) {
		if (shown.p[i] == '\'')
			buf_c(out, '\'');
		buf_c(out, shown.p[i]);
	}
	buf_c(out, '\'');
}

static void add_data(const json_t *m, size_t number, struct buf *out)
{
	size_t n;
	_cleanup_free_ struct plot_point *p = metrics_points(m, &n);

	buf_f(out, "$d%zu << END\n", number);
	for (size_t i = 0; i < n; i++) {
		const double row[] = { p[i].t, p[i].min, p[i].max, p[i].mean };

		for (size_t k = 0; k < ARRAY_LEN(row); k++) {
			buf_double(out, row[k]);
			buf_c(out, k + 1 < ARRAY_LEN(row) ? ' ' : '\n');
		}
	}
	buf_z(out, "END\n");
}

static void add_panel(const json_t *m, size_t number, struct buf *out)
{
	const char *name = json_string_value(json_object_get(m, "Name")),
	           *host = json_string_value(json_object_get(m, "Host"));
	_cleanup_free_ char *title = strf("%s%s%s", name ? name : "", host ? " of " : "", host ? host : "");

	buf_z(out, "set title ");
	quoted(str_of(title), out);
	buf_f(out,
	      " noenhanced\nplot $d%zu using 1:2:3 with filledcurves lc rgb '#c8d8ec' notitle, $d%zu using 1:4 with "
	      "linespoints lc rgb '#1f5fa8' pt 7 ps 0.3 notitle\n",
	      number, number);
}

void metrics_png_script(const json_t *answer, const char *output, struct buf *out)
{
	const json_t *metrics = json_object_get(answer, "Metrics");
	const char *job = json_string_value(json_object_get(answer, "TrainingJobName"));
	size_t n = json_array_size(metrics) < PLOTS_MAX ? json_array_size(metrics) : PLOTS_MAX;
	size_t across = n > 3 ? 2 : 1, down = (n + across - 1) / across;

	for (size_t i = 0; i < n; i++)
		add_data(json_array_get(metrics, i), i, out);
	buf_f(out, "set terminal pngcairo size %zu,%zu\nset output ", across * PANEL_WIDTH, down * PANEL_HEIGHT + 40);
	quoted(str_of(output), out);
	buf_z(out,
	      "\nset xdata time\nset timefmt '%s'\nset format x \"%H:%M:%S\\n%Y-%m-%d\"\nset xtics autofreq\n"
	      "set grid\nset key off\nset rmargin 8\nset offsets graph 0.01, graph 0.01, graph 0.05, graph 0.05\n");
	buf_f(out, "set multiplot layout %zu,%zu title ", down, across);
	quoted(str_of(job ? job : ""), out);
	buf_z(out, " noenhanced\n");
	for (size_t i = 0; i < n; i++)
		add_panel(json_array_get(metrics, i), i, out);
	buf_z(out, "unset multiplot\nset output\n");
}

static int run_gnuplot(const char *program, int script, int image, struct err *e)
{
	const char *const argv[] = { "gnuplot", "-", NULL };
	struct spawn_options o = { .path = program, .argv = argv, .in = script, .keep = &image, .keep_count = 1 };
	_cleanup_buf_ struct buf said = { 0 };
	int status;

	if (lseek(script, 0, SEEK_SET) < 0)
		return err_sys(e, "rewinding what gnuplot is told");
	if (spawn_wait(&o, &said, SAID_MAX_BYTES, &status, e) < 0)
		return -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(e, ERR_IO, "gnuplot has failed: " PRIstr, ARGstr(str_trim(buf_view(&said))));
	return 0;
}

static int read_image(int fd, struct buf *out, struct err *e)
{
	off_t size = lseek(fd, 0, SEEK_END);
	size_t got = 0;

	if (size <= 8 || size > PNG_MAX_BYTES || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, ERR_IO, "gnuplot has drawn nothing");
	buf_need(out, (size_t)size);
	if (fd_read_full(fd, out->p, (size_t)size, &got, e) < 0)
		return -1;
	out->n = got;
	return 0;
}

int metrics_png(const json_t *answer, const char *path, struct err *e)
{
	_cleanup_free_ char *program = find_gnuplot(), *output = NULL;
	_cleanup_close_ int script = memfd_create("script", MFD_CLOEXEC), image = memfd_create("image", MFD_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 }, png = { 0 };

	if (!program)
		return err_set(e, ERR_NOT_FOUND,
		               "--png needs gnuplot, which is not installed: apt-get install gnuplot-nox");
	if (!json_array_size(json_object_get(answer, "Metrics")))
		return err_set(e, ERR_NOT_FOUND, "there are no values to be drawn");
	if (script < 0 || image < 0)
		return err_sys(e, "making files for gnuplot");
	output = strf("/proc/self/fd/%d", image);
	metrics_png_script(answer, output, &text);
	if (fd_write_all(script, text.p, text.n, e) < 0 || run_gnuplot(program, script, image, e) < 0 ||
	    read_image(image, &png, e) < 0)
		return -1;
	return file_write_atomic(AT_FDCWD, path, buf_view(&png), 0644, false, e);
}
