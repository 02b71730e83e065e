/* model.h - what the files about models and model packages share; inside op/ only, any thread.
 *
 * A container is a ContainerDefinition of a model or a ModelPackageContainerDefinition of a package: both say the same
 * of an image and of the data that lies in /opt/ml/model. `where` says where it stands in a request, for sentences:
 * "PrimaryContainer", "Containers.2".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

enum { PIPELINE_MAX = 15 };

/* arn:aws:sagemaker:REGION:ACCOUNT:TYPE/name, the name in lower case as the service writes ARNs; of an ARN that one, in
 * lower case too, so that policies are asked about what is found by it. The caller frees. */
char *sagemaker_arn(const struct api *api, const char *type, struct str name_or_arn);

/* Whether its members go together; then its ModelDataSource stands there also when ModelDataUrl was given (contract
 * 7.2). ERR_INVALID. */
int container_check_form(json_t *container, const char *where, struct err *e) must_check;
/* Whether the role (empty: none is asked) and the caller may read its data and use its registry's credentials.
 * ERR_INVALID, ERR_DENIED. */
int container_authorise(const struct api_call *call, const json_t *container, struct str role,
                        struct err *e) must_check;
/* The same of its data alone, an S3DataSource with the form of one. */
int source_authorise(const struct api_call *call, const json_t *s3, struct str role, struct err *e) must_check;
/* Whether its image, its data and its registry's credentials are there, so far as can be known. May wait some seconds
 * for another S3, for all containers of a request together: since is when the first of them was begun with.
 * ERR_INVALID. */
int container_check_there(const struct api_call *call, const json_t *container, const char *where, struct mono since,
                          struct err *e) must_check;
/* What of it runs, as struct stored_model has it. New reference. */
json_t *container_resolved(const json_t *container, const char *name);
/* In a list of containers all have names of their own, or none has, and no two the same one. prefix: as `where` has it,
 * "Containers". ERR_INVALID. */
int containers_check_names(const json_t *containers, const char *prefix, struct err *e) must_check;

/* ---- model packages ---- */

/* A member of a package's request that is kept beside those of the API: a model made from it is isolated, whatever its
 * request says. */
#define PACKAGE_ISOLATED "bloomery:Isolated"

/* The ARN in lower case that a name, name/version or ARN of a package means; the caller frees. ERR_INVALID, in the
 * service's words: the ARN is of nothing that could be here. */
int package_arn(const struct api *api, struct str name_or_arn, char **ret, struct err *e) must_check;
/* ERR_INVALID: there is none of that ARN. Returns -1. */
int package_missing(const char *arn, struct err *e);
/* The name in a name or an ARN of a group. ERR_INVALID. */
int group_name(const struct api *api, struct str name_or_arn, struct str *ret, struct err *e) must_check;
/* What CreateModelPackage is asked for on, as policies name it; the caller frees. */
char *package_resource(const struct api *api, const json_t *in);
/* Who calls, as packages are marked with it; the caller frees. */
char *caller_of(const struct api_call *call);
/* Appends ,"NAME":VALUE where the object has that member. */
void add_json_member(struct buf *out, const json_t *object, const char *name);

/* The containers (copies) of an inference specification of a package: of that name, or the package's own. *ret_arn: the
 * package's, which the caller frees. ERR_INVALID, ERR_DENIED. */
struct package_use {
	json_t *containers;
	char *arn;
	bool isolated;
};
int package_use(const struct api_call *call, struct str name_or_arn, struct str specification, struct package_use *ret,
                struct err *e) must_check;
void package_use_fini(struct package_use *u);
