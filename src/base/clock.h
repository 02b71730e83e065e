/* clock.h - two clocks that do not mix: `struct mono` for durations, `struct wall` for people and the wire.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/str.h"

struct mono {
	int64_t ns;
}; /* CLOCK_MONOTONIC */
struct wall {
	int64_t ms;
}; /* since 1970-01-01T00:00:00Z */

struct mono mono_now(void);
struct wall wall_now(void);
static inline int64_t mono_ms_since(struct mono t)
{
	return (mono_now().ns - t.ns) / 1000000;
}

enum { CLOCK_TEXT_BYTES = 40 };
char *wall_iso8601(struct wall t, char dst[CLOCK_TEXT_BYTES]); /* 2026-11-21T08:46:58.123Z */
char *wall_basic(struct wall t, char dst[CLOCK_TEXT_BYTES]);   /* 20261121T084658Z, as X-Amz-Date */
char *wall_http(struct wall t, char dst[CLOCK_TEXT_BYTES]);    /* Sat, 21 Nov 2026 08:46:58 GMT */
bool wall_from_basic(struct str s, struct wall *ret);          /* exactly YYYYMMDD'T'HHMMSS'Z' */
bool wall_from_http(struct str s, struct wall *ret);           /* IMF-fixdate */
bool wall_from_iso8601(struct str s, struct wall *ret);        /* date, 'T', time, optional fraction, 'Z' */
