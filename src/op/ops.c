/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

/* Every operation that has a handler. One of the model without a row here is answered NotImplementedException. */
const struct api_op api_ops[] = {
	{ "sts", "GetCallerIdentity", op_get_caller_identity, 0 },
};
const size_t api_op_count = ARRAY_LEN(api_ops);
