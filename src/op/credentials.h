/* credentials.h - how a training job's host gets the credentials of its job's role, on the API's port:
 *
 *   GET /bloomery/credentials        for bloomery-job, with `Authorization: Bearer TOKEN`, TOKEN as in spec.json
 *   GET /v2/credentials/TOKEN        for the container, by whoever answers at 169.254.170.2: credentials_path of
 * spec.json
 *
 * Both answer what the SDKs' container provider expects (contract 1.4), fresh credentials each time:
 *
 *   {"RoleArn":"...","AccessKeyId":"ASIA...","SecretAccessKey":"...","Token":"...","Expiration":"2026-11-21T09:46:58Z"}
 *
 * A token that is none, or whose job has ended, gets 401 and {"code":"AccessDenied","message":"..."}.
 *
 * Used by own.c alone, on HTTP pool threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

enum { CREDENTIALS_LIFE_S = 3600 }; /* SDKs come back 15 minutes before the end */

struct http_request;
struct http_response;

/* Whether the request is for here. */
bool credentials_take(const struct http_request *r);
void credentials_answer(const struct api *api, const struct http_request *r, struct http_response *out);
