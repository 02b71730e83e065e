/* The GPUs of the host's work order: looked for before anything is downloaded, given to the container in its OCI
 * configuration. SPDX-License-Identifier: Apache-2.0 */
#include "gpu/gpu.h"

#include "run/phase.h"

int gpus_into(const struct run *r, json_t *config, struct err *e)
{
	const char *const *names = (const char *const *)r->spec.gpu;

	return r->spec.gpu_count ? gpu_apply(&r->cdi, names, r->spec.gpu_count, config, e) : 0;
}

enum step phase_gpus(struct run *r, struct err *e)
{
	_cleanup_buf_ struct buf names = { 0 };
	json_t *trial = json_object();
	int rc;

	if (r->spec.gpu_count)
		cdi_load(r->conf.cdi_dirs, true, &r->cdi);
	rc = gpus_into(r, trial, e);
	json_decref(trial);
	if (rc < 0) {
		err_in(e, "the GPUs that this host was to have");
		return STEP_FAIL;
	}
	for (size_t i = 0; i < r->spec.gpu_count; i++)
		buf_f(&names, "%s%s", i ? ", " : "", r->spec.gpu[i]);
	if (names.n)
		run_say(r, "This host has %zu GPU%s: %s.", r->spec.gpu_count, r->spec.gpu_count == 1 ? "" : "s",
		        names.p);
	return STEP_NEXT;
}

void undo_gpus(struct run *r)
{
	cdi_fini(&r->cdi);
}
