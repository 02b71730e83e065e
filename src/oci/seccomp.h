/* seccomp.h - the system calls a training container may make: an allow-list equal in effect to the default that docker
 * users know, for amd64 and arm64 with their 32-bit siblings and the default capabilities.
 *
 * Called by bundle_config. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

/* The "linux.seccomp" object of an OCI config; new reference. */
json_t *seccomp_profile(void);
