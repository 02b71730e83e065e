/* model.h - what train.c finds and serve.c uses: a multinomial logistic regression, and its file, model.json.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdio.h>

enum { FEATURES_MAX = 256, CLASSES_MAX = 64, NAME_BYTES = 64 };

struct model {
	size_t features, classes;
	char feature[FEATURES_MAX][NAME_BYTES], class[CLASSES_MAX][NAME_BYTES];
	double mean[FEATURES_MAX], scale[FEATURES_MAX]; /* of the features, as they were in training */
	double weight[CLASSES_MAX][FEATURES_MAX], bias[CLASSES_MAX];
};

/* Class probabilities of a row whose features have mean 0 and deviation 1. */
void model_predict(const struct model *m, const double *x, double *p);

/* By another name first: a model that is there is whole, whenever we are killed. accuracy < 0: there is none. 0; -1
 * with errno set. */
int model_write(const struct model *m, const char *path, long epochs, double accuracy);

/* Reads what model_write() or examples/python wrote. 0; -1 with a sentence in why. */
int model_read(struct model *m, const char *path, char *why, size_t why_bytes);

void put_json_string(FILE *f, const char *s);
