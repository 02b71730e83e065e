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

/* arn:aws:sagemaker:REGION:ACCOUNT:TYPE/name, the name in lower case as the service writes ARNs; the caller frees. */
char *sagemaker_arn(const struct api *api, const char *type, struct str name);

/* Whether its members go together; then its ModelDataSource stands there also when ModelDataUrl was given (contract
 * 7.2). ERR_INVALID. */
int container_check_form(json_t *container, const char *where, struct err *e) must_check;
/* Whether the role (empty: none is asked) and the caller may read its data and use its registry's credentials.
 * ERR_INVALID, ERR_DENIED. */
int container_authorise(const struct api_call *call, const json_t *container, struct str role,
                        struct err *e) must_check;
/* Whether its image, its data and its registry's credentials are there, so far as can be known. May wait some seconds
 * for another S3. ERR_INVALID. */
int container_check_there(const struct api_call *call, const json_t *container, const char *where,
                          struct err *e) must_check;
/* What of it runs, as struct stored_model has it: name for one that has none of its own. New reference. */
json_t *container_resolved(const json_t *container, const char *name);
