/* conf_inside.h - what the files of conf share; nobody outside includes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/conf.h"

/* A file named in the configuration `path`: beside that one, unless it is absolute. */
char *conf_beside(const char *path, struct str file);
/* One line of a registry_ family: key without "registry_". False: it is of none of them. */
bool conf_registry_line(struct conf *c, struct str key, struct str value, const char *path, int n, int *ret_rc,
                        struct err *e);
void conf_registry_fini(struct conf_registry *r);
