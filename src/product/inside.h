/* inside.h - what the two sides of a bundle share; nobody outside includes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "product/product.h"

enum { BLOCK_BYTES = 512, COPY_BYTES = 256 << 10, END_BYTES = 2 * BLOCK_BYTES };

#define MANIFEST "manifest.json"
#define SIGNATURE "manifest.sig"

/* The one header that a file of this name and size has in a bundle. */
void bundle_header(const char *name, uint64_t size, unsigned char out[BLOCK_BYTES]);
/* The zeros behind so many bytes. */
static inline size_t bundle_padding(uint64_t size)
{
	return (size_t)(-size % BLOCK_BYTES);
}
/* Whether a bundle may have a file of this name. */
bool bundle_name_valid(struct str name);
/* What the manifest says, once its text is there; text and about must be set. ERR_INVALID. */
int bundle_take_manifest(struct product *p, struct err *e) must_check;
