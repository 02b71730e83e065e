/* The text; metrics_collect.c gathers what is in it. SPDX-License-Identifier: Apache-2.0 */
#include "op/metrics.h"

/* ---- the format ---- */

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_f(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_label(struct buf *out, const char *name, struct str value)
{
	bool valid = utf8_valid(value);

	buf_f(out, "%s=\"", name);
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c == '\\' || c == '"')
			buf_f(out, "\\%c", c);
		else if (c == '\n')
			buf_z(out, "\\n");
		else
			buf_c(out, c >= 0x80 && !valid ? '?' : (char)c);
	}
	buf_c(out, '"');
}

static void plain(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	buf_f(out, "%s %llu\n", name, (unsigned long long)value);
}

/* Milliseconds as seconds; no floating point, so that a counter never goes back by rounding. */
static void add_seconds_of(struct buf *out, uint64_t ms)
{
	buf_f(out, " %llu.%03u\n", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

/* ---- jobs ---- */

static void write_statuses(const struct metrics *m, struct buf *out)
{
	family(out, "bloomery_jobs", "gauge", "Training jobs that are kept, by TrainingJobStatus.");
	for (int s = 0; s < JOB_STATE_COUNT; s++) {
		uint64_t sum = 0;
		bool before = false;

		for (int k = 0; k < JOB_STATE_COUNT; k++) {
			if (strcmp(job_state_info[k].status, job_state_info[s].status) != 0)
				continue;
			before |= k < s;
			sum += m->counts[k];
		}
		if (before)
			continue;
		buf_z(out, "bloomery_jobs{");
		metrics_label(out, "status", str_of(job_state_info[s].status));
		buf_f(out, "} %llu\n", (unsigned long long)sum);
	}
}

/* States that have one secondary status are one to who asks the API, and here. */
static void write_secondaries(const struct metrics *m, struct buf *out)
{
	family(out, "bloomery_jobs_unfinished", "gauge", "Training jobs that have not ended, by SecondaryStatus.");
	for (int s = 0; s < JOB_STATE_COUNT; s++) {
		uint64_t sum = 0;
		bool before = false;

		for (int k = 0; k < JOB_STATE_COUNT; k++) {
			if (strcmp(job_state_info[k].secondary, job_state_info[s].secondary) != 0)
				continue;
			before |= k < s;
			sum += m->counts[k];
		}
		if (before || job_state_info[s].final)
			continue;
		buf_z(out, "bloomery_jobs_unfinished{");
		metrics_label(out, "secondary_status", str_of(job_state_info[s].secondary));
		buf_f(out, "} %llu\n", (unsigned long long)sum);
	}
}

/* ---- channels ---- */

/* A metric of each channel: one sample, or one each for what the trainer and what the data was waited for. */
struct channel_metric {
	const char *name, *type, *help;
	size_t at, at_data; /* in struct feed_channel; at_data 0: no label "for" */
	bool of_feed, milliseconds;
};

#define OF_CHANNEL(member) offsetof(struct feed_channel, member)
#define OF_FEED(member) offsetof(struct feed_channel, numbers.member)

static const struct channel_metric channel_metrics[] = {
	{ "bloomery_channel_share_objects", "gauge", "Objects of the channel that are this host's.",
	  OF_CHANNEL(objects), 0, false, false },
	{ "bloomery_channel_share_bytes", "gauge", "Bytes of the channel that are this host's.", OF_CHANNEL(bytes), 0,
	  false, false },
	{ "bloomery_channel_bytes_total", "counter", "Bytes given to the container, over all epochs.", OF_FEED(bytes),
	  0, true, false },
	{ "bloomery_channel_objects_total", "counter", "Objects given to the container, over all epochs.",
	  OF_FEED(objects), 0, true, false },
	{ "bloomery_channel_epoch", "gauge", "The newest epoch that the container has opened, from 0.", OF_FEED(epoch),
	  0, true, false },
	{ "bloomery_channel_epochs_total", "counter", "Epochs that the container has opened.", OF_FEED(epochs), 0, true,
	  false },
	{ "bloomery_channel_wait_seconds_total", "counter",
	  "Time that was waited, while an epoch was read: for the trainer to take data, or for data to arrive.",
	  OF_FEED(wait_reader_ms), OF_FEED(wait_store_ms), true, true },
	{ "bloomery_channel_stalls_total", "counter", "How many times that was waited.", OF_FEED(stalls_reader),
	  OF_FEED(stalls_store), true, false },
	{ "bloomery_channel_active_seconds_total", "counter", "Time during which an epoch was being read.",
	  OF_FEED(active_ms), 0, true, true },
};

static void start_labels(struct buf *out, const char *metric, const struct metrics_job *j, const struct feed_channel *c)
{
	buf_f(out, "%s{", metric);
	metrics_label(out, "training_job", str_of(j->name)); /* `job` is what Prometheus calls its targets */
	buf_c(out, ',');
	metrics_label(out, "host", str_of(j->feeds.host));
	if (!c)
		return;
	buf_c(out, ',');
	metrics_label(out, "channel", str_of(c->name));
}

static void sample(struct buf *out, const struct channel_metric *m, const struct metrics_job *j,
                   const struct feed_channel *c, const char *what, size_t at)
{
	uint64_t v;

	memcpy(&v, (const char *)c + at, sizeof(v));
	start_labels(out, m->name, j, c);
	if (what) {
		buf_c(out, ',');
		metrics_label(out, "for", str_of(what));
	}
	buf_c(out, '}');
	if (m->milliseconds)
		add_seconds_of(out, v);
	else
		buf_f(out, " %llu\n", (unsigned long long)v);
}

static void write_channel_metric(const struct metrics *m, const struct channel_metric *metric, struct buf *out)
{
	family(out, metric->name, metric->type, metric->help);
	for (size_t i = 0; i < m->job_count; i++)
		for (size_t k = 0; k < m->jobs[i].feeds.count; k++) {
			const struct feed_channel *c = &m->jobs[i].feeds.channels[k];

			if (metric->of_feed ? !c->fed : !c->counted)
				continue;
			sample(out, metric, &m->jobs[i], c, metric->at_data ? "trainer" : NULL, metric->at);
			if (metric->at_data)
				sample(out, metric, &m->jobs[i], c, "data", metric->at_data);
		}
}

static void write_channel_info(const struct metrics *m, struct buf *out)
{
	family(out, "bloomery_channel_info", "gauge", "How a channel gets to the container; always 1.");
	for (size_t i = 0; i < m->job_count; i++)
		for (size_t k = 0; k < m->jobs[i].feeds.count; k++) {
			const struct feed_channel *c = &m->jobs[i].feeds.channels[k];

			start_labels(out, "bloomery_channel_info", &m->jobs[i], c);
			buf_c(out, ',');
			metrics_label(out, "mode", str_of(c->mode));
			buf_c(out, ',');
			metrics_label(out, "way", str_of(c->way));
			buf_z(out, "} 1\n");
		}
	family(out, "bloomery_feeds_timestamp_seconds", "gauge", "When a host last told about its channels.");
	for (size_t i = 0; i < m->job_count; i++) {
		start_labels(out, "bloomery_feeds_timestamp_seconds", &m->jobs[i], NULL);
		buf_c(out, '}');
		add_seconds_of(out, (uint64_t)m->jobs[i].feeds.at.ms);
	}
}

/* ---- the server ---- */

static void write_process(const struct metrics *m, struct buf *out)
{
	family(out, "process_start_time_seconds", "gauge", "When bloomeryd started, in seconds since 1970.");
	buf_f(out, "process_start_time_seconds %.2f\n", m->start_s);
	family(out, "process_cpu_seconds_total", "counter", "Processor time that bloomeryd has used.");
	buf_f(out, "process_cpu_seconds_total %.2f\n", m->cpu_s);
	plain(out, "process_resident_memory_bytes", "gauge", "Memory of bloomeryd that is resident.",
	      m->resident_bytes);
	plain(out, "process_virtual_memory_bytes", "gauge", "Memory that bloomeryd has mapped.", m->virtual_bytes);
	plain(out, "process_open_fds", "gauge", "Descriptors that bloomeryd has open.", m->open_fds);
	plain(out, "process_max_fds", "gauge", "Descriptors that bloomeryd may have open.", m->max_fds);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
	plain(out, "bloomery_up", "gauge", "1: bloomeryd answers.", 1);
	family(out, "bloomery_build_info", "gauge", "The version that runs; always 1.");
	buf_z(out, "bloomery_build_info{");
	metrics_label(out, "version", str_of(m->version));
	buf_z(out, "} 1\n");
	write_statuses(m, out);
	write_secondaries(m, out);
	write_channel_info(m, out);
	for (size_t i = 0; i < ARRAY_LEN(channel_metrics); i++)
		write_channel_metric(m, &channel_metrics[i], out);
	plain(out, "bloomery_feeds_unreadable", "gauge", "Jobs whose feeds.json cannot be understood.", m->unreadable);
	plain(out, "bloomery_feeds_omitted", "gauge", "Jobs left out here because there are too many.", m->omitted);
	plain(out, "bloomery_data_size_bytes", "gauge", "Size of the file system of the data directory.",
	      m->disk_bytes);
	plain(out, "bloomery_data_free_bytes", "gauge", "Free space there, as far as bloomeryd may use it.",
	      m->disk_free_bytes);
	write_process(m, out);
}
