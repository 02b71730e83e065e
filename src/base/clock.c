/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

struct mono mono_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mono){ ts.tv_sec * 1000000000LL + ts.tv_nsec };
}

struct wall wall_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct wall){ ts.tv_sec * 1000LL + ts.tv_nsec / 1000000 };
}

static struct tm split(struct wall t, int *ret_ms)
{
	int64_t ms = t.ms % 1000;
	time_t s;
	struct tm tm;

	if (ms < 0)
		ms += 1000;
	s = (time_t)((t.ms - ms) / 1000);
	gmtime_r(&s, &tm);
	if (ret_ms)
		*ret_ms = (int)ms;
	return tm;
}

char *wall_iso8601(struct wall t, char dst[CLOCK_TEXT_BYTES])
{
	int ms;
	struct tm tm = split(t, &ms);
	size_t n = strftime(dst, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);

	snprintf(dst + n, CLOCK_TEXT_BYTES - n, ".%03dZ", ms);
	return dst;
}

char *wall_basic(struct wall t, char dst[CLOCK_TEXT_BYTES])
{
	struct tm tm = split(t, NULL);

	strftime(dst, CLOCK_TEXT_BYTES, "%Y%m%dT%H%M%SZ", &tm);
	return dst;
}

static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

char *wall_http(struct wall t, char dst[CLOCK_TEXT_BYTES])
{
	struct tm tm = split(t, NULL);

	snprintf(dst, CLOCK_TEXT_BYTES, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday % 7], tm.tm_mday % 100,
	         months[tm.tm_mon % 12], (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100,
	         tm.tm_sec % 100);
	return dst;
}

static bool digits(struct str *s, size_t n, int *ret)
{
	uint64_t v;

	if (s->n < n || !str_to_u64((struct str){ s->p, n }, &v))
		return false;
	*ret = (int)v;
	s->p += n;
	s->n -= n;
	return true;
}

static bool lit(struct str *s, const char *z)
{
	return str_skip(s, str_of(z));
}

static bool join(const struct tm *in, struct wall *ret)
{
	struct tm tm = *in;
	time_t s;

	if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return false;
	s = timegm(&tm);
	if (tm.tm_mday != in->tm_mday) /* 30 February */
		return false;
	*ret = (struct wall){ (int64_t)s * 1000 };
	return true;
}

bool wall_from_basic(struct str s, struct wall *ret)
{
	struct tm tm = { 0 };

	if (!digits(&s, 4, &tm.tm_year) || !digits(&s, 2, &tm.tm_mon) || !digits(&s, 2, &tm.tm_mday) || !lit(&s, "T") ||
	    !digits(&s, 2, &tm.tm_hour) || !digits(&s, 2, &tm.tm_min) || !digits(&s, 2, &tm.tm_sec) || !lit(&s, "Z") ||
	    s.n)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return join(&tm, ret);
}

bool wall_from_http(struct str s, struct wall *ret)
{
	struct tm tm = { .tm_mon = -1 };
	struct str day = str_cut(&s, ',');

	if (day.n != 3 || !lit(&s, " ") || !digits(&s, 2, &tm.tm_mday) || !lit(&s, " "))
		return false;
	for (int m = 0; m < 12; m++)
		if (lit(&s, months[m])) {
			tm.tm_mon = m;
			break;
		}
	if (!lit(&s, " ") || !digits(&s, 4, &tm.tm_year) || !lit(&s, " ") || !digits(&s, 2, &tm.tm_hour) ||
	    !lit(&s, ":") || !digits(&s, 2, &tm.tm_min) || !lit(&s, ":") || !digits(&s, 2, &tm.tm_sec) ||
	    !lit(&s, " GMT") || s.n)
		return false;
	tm.tm_year -= 1900;
	return join(&tm, ret);
}

bool wall_from_iso8601(struct str s, struct wall *ret)
{
	struct tm tm = { 0 };
	int ms = 0, weight = 100;

	if (!digits(&s, 4, &tm.tm_year) || !lit(&s, "-") || !digits(&s, 2, &tm.tm_mon) || !lit(&s, "-") ||
	    !digits(&s, 2, &tm.tm_mday) || !lit(&s, "T") || !digits(&s, 2, &tm.tm_hour) || !lit(&s, ":") ||
	    !digits(&s, 2, &tm.tm_min) || !lit(&s, ":") || !digits(&s, 2, &tm.tm_sec))
		return false;
	if (lit(&s, "."))
		for (; s.n && s.p[0] >= '0' && s.p[0] <= '9'; s.p++, s.n--, weight /= 10)
			ms += (s.p[0] - '0') * weight;
	if (!lit(&s, "Z") || s.n)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	if (!join(&tm, ret))
		return false;
	ret->ms += ms;
	return true;
}
