/* config_files.h - what stands in the files of /opt/ml/input/config, byte for byte as training containers have seen it.
 *
 * Pure: from the work order to bytes, no I/O. Called by the layout phase of bloomery-job. All files are compact
 * single-line UTF-8 JSON without a newline at the end (contract 1.2).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

struct config_input {
	const struct job_spec *spec;
	const char *network_interface; /* one that exists inside the container */
};

/* A row a file. `write` appends the content; it returns false, having written nothing, when the job has not asked for
 * the feature the file belongs to (the file is then not there at all). */
struct config_file {
	const char *name; /* leaf below /opt/ml/input/config */
	bool (*write)(const struct config_input *in, struct buf *out);
};
extern const struct config_file config_files[];
extern const size_t config_file_count;

/* An enum value of the API in the spelling of the service's own files: "S3Prefix" -> "S3_PREFIX", "File" -> "FILE". */
void config_enum(struct str api_value, struct buf *out);

/* "algo-1" ... in the order of resourceconfig.json (lexicographic); new reference. first..last as hosts are counted. */
json_t *config_hosts(unsigned first, unsigned last);

/* Where the job's checkpoints, TensorBoard files live in the container; NULL when not configured. Views request. */
const char *config_checkpoint_path(const json_t *request);
const char *config_tensorboard_path(const json_t *request);
