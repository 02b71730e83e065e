/* elsewhere.h - what bloomery-job asks of bloomeryd when it runs on a machine of its own (job/desk.h), on the API's
 * port, with `Authorization: Bearer TOKEN`, TOKEN as in spec.json: that host's of that job, and good while the job has
 * not ended.
 *
 *   POST /bloomery/hosts/ID/hello       {"address","instance","now"} -> {"journal","log"}: bytes that are here of them
 *   POST /bloomery/hosts/ID/journal?offset=N    whole lines -> {"size"}; the same bytes again are fine
 *   POST /bloomery/hosts/ID/log?offset=N        bytes of the log (joblog_copy_read) -> {"size"}
 *   PUT  /bloomery/hosts/ID/feeds               feeds.json
 *   PUT  /bloomery/hosts/ID/staged/NAME?md5=HEX an artifact, before the fact that tells of it
 *   GET  /bloomery/hosts/ID/lists/N             the list of a channel
 *   GET  /bloomery/hosts/ID/image               image.json of the image; 503: it is being packed; 404: it is not here
 *   GET  /bloomery/hosts/ID/image/archive       its files, tar
 *   GET  /bloomery/hosts/ID/orders?seen=N       what to do, once that is other than version N, or after a while
 *
 * What is refused has {"code","message"}: 403 the token, 404, 409 the host runs twice, 410 it counts as lost, 413, 400.
 *
 * Used by api.c alone, on HTTP pool threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

struct http_request;
struct http_route;

/* Whether the request is for here; without a bearer it is S3's, so that no name of a bucket is taken away. */
bool elsewhere_takes(const struct http_request *r);
void elsewhere_route(const struct api *api, struct http_request *r, struct http_route *ret);
