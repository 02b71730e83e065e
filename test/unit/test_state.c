/* The exhaustive test of the job's state table. SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "state/state.h"

static bool reached[JOB_STATE_COUNT];

static void walk(int s)
{
	if (reached[s])
		return;
	reached[s] = true;
	for (int v = 0; v < JOB_EVENT_COUNT; v++)
		if (job_next(s, v) >= 0)
			walk(job_next(s, v));
}

TEST(every_state_is_reachable_from_STARTING)
{
	walk(JOB_STARTING);
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		if (!reached[s])
			test_failed(__FILE__, __LINE__, "%s is never reached", job_state_info[s].name);
}

TEST(final_states_are_dead_ends_and_others_are_not)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++) {
		int out = 0;

		for (int v = 0; v < JOB_EVENT_COUNT; v++)
			out += job_next(s, v) >= 0 && job_next(s, v) != s;
		if (job_state_info[s].final != (out == 0))
			test_failed(__FILE__, __LINE__, "%s has %d ways out", job_state_info[s].name, out);
	}
}

TEST(every_state_that_is_not_final_can_be_lost)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		CHECK_INT(job_next(s, EV_LOST), job_state_info[s].final ? -1 : JOB_FAILED);
}

TEST(a_stop_is_accepted_wherever_the_status_is_InProgress)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++) {
		bool running = str_is(str_of(job_state_info[s].status), "InProgress");

		CHECK_INT(job_next(s, EV_STOP), running ? JOB_STOPPING : -1);
	}
}

TEST(a_supervisor_can_always_end_with_a_reason)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		if (!job_state_info[s].final)
			CHECK_INT(job_next(s, EV_END_BAD), JOB_FAILED);
}

TEST(names_are_unique_and_found)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		CHECK_INT(job_state_by_name(str_of(job_state_info[s].name)), s);
	for (int v = 0; v < JOB_EVENT_COUNT; v++)
		CHECK_INT(job_event_by_name(str_of(job_event_name[v])), v);
	CHECK_INT(job_state_by_name(STR("NOWHERE")), -1);
}
