/* yaml.h - a YAML document as JSON, for CDI files, which nvidia-ctk writes as YAML.
 *
 * The part of YAML that says what JSON can: one document of mappings with plain keys, sequences and scalars. A scalar
 * without quotes is an integer, true, false or null where it looks like one, else text. Anchors, aliases and tags are
 * refused: nobody writes them there, and aliases make small files large.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

/* A new reference; NULL with ERR_SYNTAX, which says where. */
json_t *yaml_to_json(struct str text, struct err *e);
