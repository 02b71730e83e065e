/* SPDX-License-Identifier: Apache-2.0 */
#include "logstore/logstore.h"

#include <stdlib.h>

#include "harness.h"

static struct logstore *open_store(void)
{
	_cleanup_free_ char *path = strf("%s/logs.db", test_tmpdir());
	struct logstore *s = NULL;

	CHECK_OK(logstore_open(path, &s, e));
	return s;
}

static bool show(const struct log_event *ev, void *arg)
{
	buf_f(arg, "%lld:" PRIstr " ", (long long)ev->at.ms, ARGstr(ev->message));
	return true;
}

static void check_events(struct logstore *s, int64_t stream, int64_t at, bool backwards, unsigned max, const char *want)
{
	_cleanup_buf_ struct buf out = { 0 };

	buf_need(&out, 1);
	out.p[0] = '\0';
	CHECK_OK(logstore_read(s, stream, (struct wall){ at }, 0, backwards, max, show, &out, e));
	CHECK_STR(out.p, want);
}

TEST(logstore_events_are_in_order_and_stay)
{
	_cleanup_(logstore_closep) struct logstore *s = open_store();
	const struct log_event first[] = { { .at = { 5 }, .message = STR("b") }, { .at = { 5 }, .message = STR("c") } };
	const struct log_event late[] = { { .at = { 3 }, .message = STR("a") } };
	struct log_group g;
	struct log_stream st;
	struct err why = { 0 };

	CHECK_OK(logstore_group_create(s, STR("/g"), (struct wall){ 1 }, e));
	CHECK_INT(logstore_group_create(s, STR("/g"), (struct wall){ 1 }, &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	CHECK_OK(logstore_group_find(s, STR("/g"), &g, e));
	CHECK_OK(logstore_stream_create(s, g.id, STR("one"), (struct wall){ 2 }, e));
	CHECK_OK(logstore_stream_find(s, g.id, STR("one"), &st, e));
	CHECK_OK(logstore_put(s, st.id, first, 2, (struct wall){ 9 }, e));
	CHECK_OK(logstore_put(s, st.id, late, 1, (struct wall){ 10 }, e));
	logstore_close(take_ptr(s));
	s = open_store(); /* all of it is on disk */
	check_events(s, st.id, 0, false, 10, "3:a 5:b 5:c ");
	check_events(s, st.id, 4, false, 1, "5:b ");
	check_events(s, st.id, 6, true, 2, "5:c 5:b ");
	check_events(s, st.id, 5, true, 9, "3:a ");
	CHECK_OK(logstore_expire(s, g.id, (struct wall){ 5 }, e));
	check_events(s, st.id, 0, false, 10, "5:b 5:c ");
	CHECK_OK(logstore_stream_find(s, g.id, STR("one"), &st, e));
	CHECK_INT(st.first.ms, 5);
	CHECK_INT(st.ingested.ms, 10);
	CHECK_OK(logstore_group_delete(s, STR("/g"), e));
	CHECK_INT(logstore_stream_find(s, g.id, STR("one"), &st, NULL), -1);
	CHECK_INT(logstore_put(s, st.id, late, 1, (struct wall){ 1 }, NULL), -1);
	check_events(s, st.id, 0, false, 10, "");
}

TEST(logstore_tags_are_bounded)
{
	_cleanup_(logstore_closep) struct logstore *s = open_store();
	struct log_group g;
	struct err why = { 0 };

	CHECK_OK(logstore_group_create(s, STR("/g"), (struct wall){ 1 }, e));
	CHECK_OK(logstore_group_find(s, STR("/g"), &g, e));
	for (int i = 0; i < LOG_TAGS_MAX; i++) {
		_cleanup_free_ char *key = strf("k%d", i);

		CHECK_OK(logstore_tag(s, g.id, str_of(key), STR("v"), e));
	}
	CHECK_OK(logstore_tag(s, g.id, STR("k1"), STR("other"), e));
	CHECK_INT(logstore_tag(s, g.id, STR("more"), STR("v"), &why), -1);
	CHECK_INT(why.kind, ERR_LIMIT);
	CHECK_OK(logstore_tag(s, g.id, STR("k1"), (struct str){ 0 }, e));
	CHECK_OK(logstore_tag(s, g.id, STR("more"), STR("v"), e));
}
