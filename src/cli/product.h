/* product.h - what the files of `bloomery product` share; nobody else includes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/access.h"
#include "product/product.h"

/* Root's programs beside this one: bloomery-image with these arguments (NULL-terminated), which begin behind
 * `--images DIR`. out: where its standard output goes, -1: nowhere; keep: a descriptor that it gets besides, -1: none.
 * *ret_status: its exit status. What it has said of a failure becomes *e when that is 0 or more and ret_status NULL. */
struct image_program {
	const char *data_dir;
	const char *const *args;
	int out, keep;
	int *ret_status; /* NULL: any status but 0 is an error */
};
int product_run_image(const struct image_program *p, struct err *e) must_check;

/* A new directory ".new-..." on the shelf, which the caller has locked. Returns its descriptor; *ret_name is malloc'd.
 */
int product_work_new(int shelf, char **ret_name, struct err *e) must_check;

/* The name under which image i, from 1, of a product is in the local store; the caller frees. */
char *product_image_name(const char *product, size_t i);
/* Removes names of images that belong to no product on the shelf. The shelf is locked. */
void product_sweep_images(const char *data_dir, int shelf);

/* Tells the server, should there be one, that the shelf has changed. *ret: whether there was one; *ret_refused: why it
 * does not take the product, malloc'd; NULL: it does. */
int product_tell_server(const struct cli_args *a, const char *product, bool *ret_told, char **ret_refused,
                        struct err *e) must_check;
/* arn:aws:sagemaker:REGION:ACCOUNT:algorithm/NAME, in the region of this site; the caller frees. */
char *product_arn(const struct cli_args *a, const char *account, const char *name);

int product_import(const struct cli_args *a, struct err *e) must_check; /* rest: import FILE */
int product_export(const struct cli_args *a, struct err *e) must_check; /* rest: export ALGORITHM FILE */

/* ---- product_gather.c: what a product shows of its algorithm ---- */

struct s3; /* s3/s3.h */
/* An export under way. */
struct gathering {
	struct access *access;
	struct s3 *s3;
	int dir; /* what becomes the product */
	const char *data_dir;
	json_t *algorithm; /* as Describe has it */
	json_t *profiles;  /* what there is of each, for the report: see product_gather */
	json_t *images;    /* [{"directory", "name", "digest", "architecture", "roles": [...], "scan": {...}}] */
	bool quiet;
};
/* Copies the input data, outputs, logs and metrics of each validation profile below g->dir, and adds to g->profiles
 * {"name", "training_job": Describe, "transform_job": Describe, "metrics": {...}, "logs": [files], "input":
 * [{"channel", "uri", "objects", "bytes"}], "output": {...}}; what there is none of is left out. */
int product_gather(struct gathering *g, struct err *e) must_check;

/* ---- product_report.c ---- */
/* The report as one HTML page that needs nothing else. about: of the manifest. */
void product_report(const struct gathering *g, const json_t *about, struct buf *out);
