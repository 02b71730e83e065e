/* What the container finds in its environment (contract 1.4). SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "gpu/gpu.h"
#include "net/net.h"
#include "run/network.h"
#include "run/phase.h"

struct environment {
	char **v;
	size_t n;
};

void strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

static struct str name_of(const char *assignment)
{
	struct str rest = str_of(assignment);

	return str_cut(&rest, '=');
}

/* A later value of the same name replaces the earlier one, in its place. Takes the string. */
static void put(struct environment *env, char *assignment)
{
	for (size_t i = 0; i < env->n; i++)
		if (str_eq(name_of(env->v[i]), name_of(assignment))) {
			free(env->v[i]);
			env->v[i] = assignment;
			return;
		}
	env->v = xrealloc(env->v, (env->n + 2) * sizeof(*env->v));
	env->v[env->n++] = assignment;
	env->v[env->n] = NULL;
}

static void set(struct environment *env, const char *name, const char *value)
{
	put(env, strf("%s=%s", name, value));
}

/* What the request asks for, if it does (contract 7.5). */
static void put_batch(struct environment *env, const json_t *request)
{
	const json_t *payload = json_object_get(request, "MaxPayloadInMB");
	const json_t *concurrent = json_object_get(request, "MaxConcurrentTransforms");
	const char *strategy = json_string_value(json_object_get(request, "BatchStrategy"));

	set(env, "SAGEMAKER_BATCH", "true");
	if (json_is_integer(payload))
		put(env, strf("SAGEMAKER_MAX_PAYLOAD_IN_MB=%lld", (long long)json_integer_value(payload)));
	if (strategy)
		set(env, "SAGEMAKER_BATCH_STRATEGY",
		    strcmp(strategy, "SingleRecord") == 0 ? "SINGLE_RECORD" : "MULTI_RECORD");
	if (json_is_integer(concurrent))
		put(env, strf("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS=%lld", (long long)json_integer_value(concurrent)));
}

/* Names the platform keeps for itself, whatever the request says (contract 1.4, precedence). */
static bool is_platforms(struct str name)
{
	return str_starts(name, STR("TRAINING_JOB_")) || str_starts(name, STR("AWS_CONTAINER_")) ||
	       str_is(name, "NVIDIA_VISIBLE_DEVICES");
}

static bool has(const struct environment *env, const char *name)
{
	for (size_t i = 0; i < env->n; i++)
		if (str_is(name_of(env->v[i]), name))
			return true;
	return false;
}

/* NVIDIA's hook acts on the first, so it is ours alone: images for GPUs say `all` themselves. */
static void put_gpus(struct environment *env, const struct job_spec *spec)
{
	const char *const *names = (const char *const *)spec->gpu;
	_cleanup_free_ char *visible = gpu_visible(names, spec->gpu_count);

	set(env, "NVIDIA_VISIBLE_DEVICES", visible);
	if (gpu_is_for_hook(names, spec->gpu_count) && !has(env, "NVIDIA_DRIVER_CAPABILITIES"))
		set(env, "NVIDIA_DRIVER_CAPABILITIES", "compute,utility");
}

static void put_platforms(struct environment *env, const struct job_spec *spec, const char *network_interface)
{
	const json_t *algorithm = json_object_get(spec->request, "AlgorithmSpecification");
	bool isolated = json_is_true(json_object_get(spec->request, "EnableNetworkIsolation"));

	set(env, "HOSTNAME", spec->host_name);
	set(env, "AWS_REGION", spec->region);
	set(env, "AWS_EXECUTION_ENV", "AWS_ECS_EC2");
	set(env, "DMLC_INTERFACE", network_interface);
	put_gpus(env, spec);
	put(env, strf("SM_NUM_GPUS=%zu", spec->gpu_count));
	if (json_is_true(json_object_get(algorithm, "EnableSageMakerMetricsTimeSeries")))
		set(env, "SAGEMAKER_METRICS_DIRECTORY", "/opt/ml/output/metrics/sagemaker");
	if (spec->additional)
		set(env, "SAGEMAKER_ADDITIONAL_S3_DATA_PATH", SPEC_ADDITIONAL_PATH);
	if (spec->credentials_path && !isolated && spec->network.bridge)
		set(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", spec->credentials_path);
	if (spec->api_url && !isolated && spec->network.bridge)
		put(env, strf("AWS_ENDPOINT_URL=http://" NET_LINK_ADDRESS ":%d", NETWORK_API_PORT));
	else if (spec->api_url && !isolated)
		set(env, "AWS_ENDPOINT_URL", spec->api_url);
}

static void put_images(struct environment *env, const struct image *image)
{
	set(env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	/* Another user's HOME is in the image's passwd; the runtime looks it up. */
	if (!*image->user || str_is(str_of(image->user), "root") || str_is(str_of(image->user), "0"))
		set(env, "HOME", "/root");
	for (char **v = image->env; *v; v++)
		put(env, xstrdup(*v));
}

char **environment_of(const struct job_spec *spec, const struct image *image, const char *network_interface,
                      const char *credentials_url)
{
	struct environment env = { 0 };
	const char *name;
	json_t *value;

	put_images(&env, image);
	put_platforms(&env, spec, network_interface);
	if (credentials_url)
		set(&env, "AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials_url);
	json_object_foreach (json_object_get(spec->request, "Environment"), name, value)
		if (!is_platforms(str_of(name)) && json_is_string(value))
			set(&env, name, json_string_value(value));
	set(&env, "TRAINING_JOB_NAME", spec->name);
	set(&env, "TRAINING_JOB_ARN", spec->arn);
	return env.v;
}

char **environment_of_serving(const struct box *b)
{
	const struct job_spec *spec = &b->run->spec;
	const struct container_spec *c = &spec->containers[b - b->run->box];
	struct environment env = { 0 };
	const char *name;
	json_t *value;

	put_images(&env, &b->image);
	set(&env, "HOSTNAME", b->hostname);
	set(&env, "AWS_REGION", spec->region);
	put_gpus(&env, spec);
	if (spec->credentials_path && !b->run->isolated)
		set(&env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", spec->credentials_path);
	if (spec->api_url && !b->run->isolated)
		put(&env, strf("AWS_ENDPOINT_URL=http://" NET_LINK_ADDRESS ":%d", NETWORK_API_PORT));
	json_object_foreach (c->environment, name, value)
		if (!is_platforms(str_of(name)) && json_is_string(value))
			set(&env, name, json_string_value(value));
	put_batch(&env, spec->request);
	return env.v;
}
