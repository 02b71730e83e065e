/* train.c - a training container's program in plain C: multinomial logistic regression by gradient descent.
 *
 * What a SageMaker trainer must do, and all it must do:
 *   - be started as `train`
 *   - read its hyperparameters, all of them strings, from /opt/ml/input/config/hyperparameters.json
 *   - read its data from /opt/ml/input/data/<channel>/
 *   - print what it wants people and metric definitions to see
 *   - leave its model in /opt/ml/model, which becomes model.tar.gz
 *   - exit 0; or say why not in /opt/ml/output/failure and exit with something else
 *   - on SIGTERM save what it has and exit, within two minutes
 *
 * Data are CSV files with a header line; the last column is the class, the others are numbers. ML_BASE=DIR replaces
 * /opt/ml, for trying it without a container.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hyperparameters.h"
#include "model.h"

enum { PATH_BYTES = 1000, LINES_WANTED = 20 };

struct table {
	size_t rows, cap, features;
	double *x; /* rows * features */
	int *y;    /* class of each row */
};

struct options {
	double epochs, learning_rate, l2;
};

static const char *base = "/opt/ml";
static volatile sig_atomic_t told_to_stop;

static void on_sigterm(int sig)
{
	(void)sig;
	told_to_stop = 1;
}

/* ---- ending ---- */

/* Says why on stderr and in the failure file, which becomes the job's FailureReason. */
_Noreturn static void fail(const char *fmt, ...)
{
	char why[1024], path[PATH_BYTES];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "train: %s\n", why);
	snprintf(path, sizeof(path), "%s/output/failure", base);
	f = fopen(path, "w");
	if (f) {
		fputs(why, f);
		fclose(f);
	}
	exit(1);
}

static void *grow(void *p, size_t count, size_t size)
{
	void *q = reallocarray(p, count, size);

	if (!q)
		fail("out of memory for %zu rows", count);
	return q;
}

/* ---- hyperparameters ---- */

static double number_in(const char *name, const char *text, double least, double most)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= least && v <= most))
		fail("hyperparameter %s is '%s'; it must be a number from %g to %g", name, text, least, most);
	return v;
}

static void set_option(const char *name, const char *value, void *arg)
{
	struct options *o = arg;

	if (strcmp(name, "epochs") == 0) {
		o->epochs = number_in(name, value, 1, 1e9);
		if (o->epochs != floor(o->epochs))
			fail("hyperparameter epochs is '%s'; it must be a whole number", value);
	} else if (strcmp(name, "learning-rate") == 0) {
		o->learning_rate = number_in(name, value, 1e-9, 100);
	} else if (strcmp(name, "l2") == 0) {
		o->l2 = number_in(name, value, 0, 1000);
	} else if (strncmp(name, "sagemaker_", 10) != 0 && name[0] != '_') {
		/* Names like those are an SDK's or the platform's. */
		fail("there is no hyperparameter '%.100s' here; there are epochs, learning-rate and l2", name);
	}
}

static struct options read_options(void)
{
	struct options o = { .epochs = 1000, .learning_rate = 0.5, .l2 = 0.001 };
	char path[PATH_BYTES], why[256];

	snprintf(path, sizeof(path), "%s/input/config/hyperparameters.json", base);
	if (hyperparameters_read(path, set_option, &o, why, sizeof(why)) < 0)
		fail("%s: %s", path, why);
	return o;
}

/* ---- data ---- */

/* The next field of a line, NUL-terminated in place; NULL after the last. */
static char *next_field(char **rest)
{
	char *field = *rest, *comma;

	if (!field)
		return NULL;
	comma = strchr(field, ',');
	if (comma)
		*comma = 0;
	*rest = comma ? comma + 1 : NULL;
	return field;
}

static void copy_name(char dst[NAME_BYTES], const char *name, const char *where, size_t line)
{
	if (!*name || strlen(name) >= NAME_BYTES || strpbrk(name, "\"\\") != NULL)
		fail("%s line %zu: '%.80s' is no name of 1 to %d plain characters", where, line, name, NAME_BYTES - 1);
	memcpy(dst, name, strlen(name) + 1);
}

/* The first file's header names the features; the others' must be the same. */
static void read_header(struct model *m, char *line, const char *where)
{
	char *rest = line, *field, name[NAME_BYTES];
	size_t n = 0, known = m->features;

	while ((field = next_field(&rest)) && rest) {
		if (n == FEATURES_MAX)
			fail("%s has more than %d features", where, FEATURES_MAX);
		copy_name(name, field, where, 1);
		if (known && (n >= known || strcmp(name, m->feature[n]) != 0))
			fail("%s: column %zu is '%s', unlike in the file before", where, n + 1, name);
		memcpy(m->feature[n++], name, sizeof(name));
	}
	if (n == 0 || (known && n != known))
		fail("%s: the header has %zu features%s", where, n, known ? ", unlike the file before" : "");
	m->features = n;
}

static int class_of(struct model *m, const char *label, bool new_ones, const char *where, size_t line)
{
	for (size_t i = 0; i < m->classes; i++)
		if (strcmp(m->class[i], label) == 0)
			return (int)i;
	if (!new_ones)
		fail("%s line %zu: the class '%.80s' does not occur in the train channel", where, line, label);
	if (m->classes == CLASSES_MAX)
		fail("%s line %zu: more than %d classes", where, line, CLASSES_MAX);
	copy_name(m->class[m->classes], label, where, line);
	return (int)m->classes++;
}

static void read_row(struct model *m, struct table *t, char *text, bool new_classes, const char *where, size_t line)
{
	char *rest = text, *field, *end;
	double *x;

	if (t->rows == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 256;
		t->x = grow(t->x, t->cap * m->features, sizeof(*t->x));
		t->y = grow(t->y, t->cap, sizeof(*t->y));
	}
	x = t->x + t->rows * m->features;
	for (size_t i = 0; i < m->features; i++) {
		field = next_field(&rest);
		if (!field || !rest)
			fail("%s line %zu has %zu fields; the header has %zu", where, line, i + (field != NULL),
			     m->features + 1);
		x[i] = strtod(field, &end);
		if (end == field || *end || !isfinite(x[i]))
			fail("%s line %zu: '%.80s' is not a number", where, line, field);
	}
	field = next_field(&rest);
	if (rest)
		fail("%s line %zu has more fields than the header", where, line);
	t->y[t->rows] = class_of(m, field, new_classes, where, line);
	t->rows++;
}

static void read_csv(struct model *m, struct table *t, const char *path, bool new_classes)
{
	const char *where = path + strlen(base) + strlen("/input/data/");
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t cap = 0, line = 0;
	ssize_t n;

	if (!f)
		fail("%s: %s", where, strerror(errno));
	while ((n = getline(&text, &cap, f)) >= 0) {
		if (strlen(text) != (size_t)n)
			fail("%s line %zu holds a NUL byte", where, line + 1);
		text[strcspn(text, "\r\n")] = 0;
		if (line++ == 0)
			read_header(m, text, where);
		else if (*text)
			read_row(m, t, text, new_classes, where, line);
	}
	if (ferror(f))
		fail("%s: %s", where, strerror(errno));
	if (line == 0)
		fail("%s is empty; it needs a header line", where);
	free(text);
	fclose(f);
}

/* Every file of a channel, in order of their names. False: there is no such channel. */
static bool read_channel(struct model *m, struct table *t, const char *channel, bool new_classes)
{
	char dir[PATH_BYTES], path[PATH_BYTES + 512];
	struct dirent **entry;
	struct stat st;
	int n;

	snprintf(dir, sizeof(dir), "%s/input/data/%s", base, channel);
	n = scandir(dir, &entry, NULL, alphasort);
	if (n < 0 && errno == ENOENT)
		return false;
	if (n < 0)
		fail("channel %s: %s", channel, strerror(errno));
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry[i]->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			read_csv(m, t, path, new_classes);
		free(entry[i]);
	}
	free(entry);
	if (!t->rows)
		fail("channel %s has no rows", channel);
	return true;
}

/* ---- the model ---- */

/* Brings each feature to mean 0 and deviation 1, as seen in the training rows. */
static void learn_scale(struct model *m, const struct table *t)
{
	for (size_t j = 0; j < m->features; j++) {
		double sum = 0, squares = 0;

		for (size_t i = 0; i < t->rows; i++)
			sum += t->x[i * m->features + j];
		m->mean[j] = sum / (double)t->rows;
		for (size_t i = 0; i < t->rows; i++) {
			double d = t->x[i * m->features + j] - m->mean[j];

			squares += d * d;
		}
		m->scale[j] = sqrt(squares / (double)t->rows);
		if (!(m->scale[j] > 0))
			m->scale[j] = 1;
	}
}

static void apply_scale(const struct model *m, struct table *t)
{
	for (size_t i = 0; i < t->rows * m->features; i++)
		t->x[i] = (t->x[i] - m->mean[i % m->features]) / m->scale[i % m->features];
}

static double accuracy(const struct model *m, const struct table *t)
{
	size_t right = 0;
	double p[CLASSES_MAX];

	for (size_t i = 0; i < t->rows; i++) {
		size_t best = 0;

		model_predict(m, t->x + i * m->features, p);
		for (size_t c = 1; c < m->classes; c++)
			if (p[c] > p[best])
				best = c;
		right += best == (size_t)t->y[i];
	}
	return (double)right / (double)t->rows;
}

/* One step down the gradient over all rows; returns the loss before it. */
static double descend(struct model *m, const struct table *t, const struct options *o)
{
	static double gradient[CLASSES_MAX][FEATURES_MAX], gradient0[CLASSES_MAX];
	double loss = 0, p[CLASSES_MAX], rate = o->learning_rate;

	memset(gradient, 0, sizeof(gradient));
	memset(gradient0, 0, sizeof(gradient0));
	for (size_t i = 0; i < t->rows; i++) {
		const double *x = t->x + i * m->features;

		model_predict(m, x, p);
		loss -= log(fmax(p[t->y[i]], 1e-300));
		for (size_t c = 0; c < m->classes; c++) {
			double off = p[c] - ((size_t)t->y[i] == c);

			gradient0[c] += off;
			for (size_t j = 0; j < m->features; j++)
				gradient[c][j] += off * x[j];
		}
	}
	loss /= (double)t->rows;
	for (size_t c = 0; c < m->classes; c++) {
		m->bias[c] -= rate * gradient0[c] / (double)t->rows;
		for (size_t j = 0; j < m->features; j++) {
			double *w = &m->weight[c][j];

			loss += o->l2 * *w * *w / 2;
			*w -= rate * (gradient[c][j] / (double)t->rows + o->l2 * *w);
		}
	}
	return loss;
}

/* Returns how many epochs were done. */
static long train(struct model *m, const struct table *rows, const struct table *held_out, const struct options *o)
{
	long epochs = (long)o->epochs, every = epochs / LINES_WANTED > 0 ? epochs / LINES_WANTED : 1, done = 0;

	while (done < epochs && !told_to_stop) {
		double loss = descend(m, rows, o);

		done++;
		if (!isfinite(loss))
			fail("the loss is no longer a number after %ld epochs; try a smaller learning-rate than %g",
			     done, o->learning_rate);
		if (done % every && done != epochs && done != 1 && !told_to_stop)
			continue;
		printf("epoch=%ld/%ld train:loss=%.6f", done, epochs, loss);
		if (held_out->rows)
			printf(" validation:accuracy=%.4f", accuracy(m, held_out));
		putchar('\n');
	}
	return done;
}

/* ---- saving ---- */

static void save(const struct model *m, long epochs, double final_accuracy)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/model/model.json", base);
	if (model_write(m, path, epochs, final_accuracy) < 0)
		fail("%s: %s", path, strerror(errno));
}

int main(void)
{
	static struct model m;
	struct table rows = { 0 }, held_out = { 0 };
	struct sigaction stop = { .sa_handler = on_sigterm };
	struct options o;
	double final_accuracy = -1;
	long done;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &stop, NULL);
	if (getenv("ML_BASE"))
		base = getenv("ML_BASE");
	o = read_options();
	printf("hyperparameters: epochs=%.0f learning-rate=%g l2=%g\n", o.epochs, o.learning_rate, o.l2);
	if (!read_channel(&m, &rows, "train", true))
		fail("there is no channel 'train'; this algorithm needs it, and takes one called 'validation'");
	if (m.classes < 2)
		fail("all %zu rows are of class '%s'; there is nothing to tell apart", rows.rows, m.class[0]);
	read_channel(&m, &held_out, "validation", false);
	printf("%zu rows to train on, %zu to validate, %zu features, %zu classes\n", rows.rows, held_out.rows,
	       m.features, m.classes);
	learn_scale(&m, &rows);
	apply_scale(&m, &rows);
	apply_scale(&m, &held_out);
	done = train(&m, &rows, &held_out, &o);
	if (told_to_stop)
		printf("told to stop after %ld epochs; saving what there is\n", done);
	if (held_out.rows)
		final_accuracy = accuracy(&m, &held_out);
	save(&m, done, final_accuracy);
	printf("saved model.json\n");
	free(rows.x);
	free(rows.y);
	free(held_out.x);
	free(held_out.y);
	return 0;
}
