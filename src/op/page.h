/* page.h - what the lists of resources have in common: the members of their requests, and how a page ends.
 *
 * Inside op/ only; no state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"
#include "store/store.h"

/* The query of a request of which the model has let nothing through but what its list knows: filters, SortBy Name,
 * Status or CreationTime (when absent), the page. descending: the order when none is asked for, which differs from list
 * to list (contract 15). What it views is the request's. */
struct store_list page_query(const json_t *in, bool descending);

/* A comma, unless this is the first item. */
void page_comma(struct buf *out);
/* Ends the list and the answer. token: of the next page, or NULL. */
void page_end(struct buf *out, const char *token);
