/* direct.h - GETs of bodies over plain HTTP without libcurl, for what is asked ten thousands of times: one send and one
 * or two receives a request, where libcurl needs a dozen system calls.
 *
 * Used by http/client.c only, for calls with a sink to an http:// address that no proxy is set for. It does only what
 * such a call needs, keep-alive and Content-Length, and tells when an answer needs more; the caller then asks libcurl.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "http/client.h"

struct direct; /* one connection; by one thread at a time */
struct direct *direct_new(void);
void direct_free(struct direct *d); /* NULL is fine */

/* Whether direct_call() may be tried at all. */
bool direct_fits(const struct http_call *call);

/* As http_client_call(). 1: the answer is of a kind that is not understood here; nothing of it has gone anywhere.
 * body() takes each piece of the body, whatever the status; *ret has the header before the first one. */
int direct_call(struct direct *d, const struct http_call *call,
                int (*body)(void *arg, const struct http_reply *so_far, struct str piece, struct err *e), void *arg,
                struct http_reply *ret, struct err *e) must_check;
