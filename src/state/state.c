/* SPDX-License-Identifier: Apache-2.0 */
#include "state/state.h"

const struct job_state_info job_state_info[JOB_STATE_COUNT] = {
#define X(state, status, secondary, final, message) [JOB_##state] = { #state, status, secondary, message, final },
	JOB_STATES(X)
#undef X
};

const char *const job_event_name[JOB_EVENT_COUNT] = {
#define X(event) [EV_##event] = #event,
	JOB_EVENTS(X)
#undef X
};

/* Stored as target + 1, so that what the table does not name is 0. A doubled edge is a compiler error. */
static const unsigned char edge[JOB_STATE_COUNT][JOB_EVENT_COUNT] = {
#define X(from, event, to) [JOB_##from][EV_##event] = JOB_##to + 1,
	JOB_EDGES(X)
#undef X
};

int job_next(enum job_state from, enum job_event event)
{
	must(from < JOB_STATE_COUNT && event < JOB_EVENT_COUNT);
	return edge[from][event] - 1;
}

int job_state_by_name(struct str name)
{
	for (int s = 0; s < JOB_STATE_COUNT; s++)
		if (str_is(name, job_state_info[s].name))
			return s;
	return -1;
}

int job_event_by_name(struct str name)
{
	for (int v = 0; v < JOB_EVENT_COUNT; v++)
		if (str_is(name, job_event_name[v]))
			return v;
	return -1;
}

const char *const host_phase_name[HOST_PHASE_COUNT] = {
#define X(phase) [HOST_##phase] = #phase,
	HOST_PHASES(X)
#undef X
};

int host_phase_by_name(struct str name)
{
	for (int p = 0; p < HOST_PHASE_COUNT; p++)
		if (str_is(name, host_phase_name[p]))
			return p;
	return -1;
}

const struct job_kind_info job_kind_info[KIND_COUNT] = {
#define X(kind, stored, words, resource, group) [KIND_##kind] = { stored, words, resource, group },
	JOB_KINDS(X)
#undef X
};

int job_kind_by_name(struct str name)
{
	for (int k = 0; k < KIND_COUNT; k++)
		if (str_is(name, job_kind_info[k].name))
			return k;
	return -1;
}
