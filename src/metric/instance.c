/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/instance.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"

enum { FILE_MAX_BYTES = 64 << 10, LEAST_MS = 100 /* between samples that say how much per time */, GPUS_MAX = 64 };

struct counters {
	struct mono at;
	uint64_t cpu_ns, read, written, received, sent;
	bool has_cpu, has_io, has_net;
};

struct instance {
	struct instance_sources s;
	struct counters last;
	bool remembered; /* memory was sampled while the container ran */
	/* GPUs: figures come line by line, the last ones are kept */
	char line[256];
	size_t line_n;
	double busy[GPUS_MAX], memory[GPUS_MAX];
	bool has_gpu;
};

struct instance *instance_new(const struct instance_sources *s)
{
	struct instance *i = xcalloc(1, sizeof(*i));

	i->s = *s;
	i->last.at.ns = s->started_ns ? s->started_ns : mono_now().ns;
	return i;
}

void instance_free(struct instance *i)
{
	free(i);
}

/* ---- files ---- */

static bool read_text(int dirfd, const char *name, struct buf *b)
{
	buf_reset(b);
	return dirfd >= 0 && file_read_at(dirfd, name, FILE_MAX_BYTES, b, NULL) == 0;
}

static bool read_number(int dirfd, const char *name, uint64_t *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	return read_text(dirfd, name, &b) && str_to_u64(str_trim(buf_view(&b)), ret);
}

/* Of lines "key number". */
static bool read_key(int dirfd, const char *name, const char *key, uint64_t *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;

	if (!read_text(dirfd, name, &b))
		return false;
	for (rest = buf_view(&b); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		if (str_is(str_cut(&line, ' '), key))
			return str_to_u64(str_trim(line), ret);
	}
	return false;
}

/* v2: "8:0 rbytes=1 wbytes=2 rios=3 ..." */
static void add_words(struct str line, struct counters *c)
{
	str_cut(&line, ' ');
	while (line.n) {
		struct str value = str_cut(&line, ' '), key = str_cut(&value, '=');
		uint64_t n;

		if (!str_to_u64(value, &n))
			continue;
		if (str_is(key, "rbytes"))
			c->read += n;
		else if (str_is(key, "wbytes"))
			c->written += n;
	}
}

/* v1: "8:0 Read 1" and at last "Total 5" */
static void add_line(struct str line, struct counters *c)
{
	struct str kind;
	uint64_t n;

	str_cut(&line, ' ');
	kind = str_cut(&line, ' ');
	if (!str_to_u64(line, &n))
		return;
	if (str_is(kind, "Read"))
		c->read += n;
	else if (str_is(kind, "Write"))
		c->written += n;
}

static void read_io(const struct instance_sources *s, struct counters *c)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;

	c->has_io = s->unified ? read_text(s->io, "io.stat", &b)
	                       : read_text(s->io, "blkio.throttle.io_service_bytes_recursive", &b) ||
	                                 read_text(s->io, "blkio.throttle.io_service_bytes", &b);
	for (rest = buf_view(&b); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		if (s->unified)
			add_words(line, c);
		else
			add_line(line, c);
	}
}

static struct counters read_counters(const struct instance_sources *s)
{
	struct counters c = { .at = mono_now() };

	if (s->unified) {
		c.has_cpu = read_key(s->cpu, "cpu.stat", "usage_usec", &c.cpu_ns);
		c.cpu_ns *= 1000;
	} else {
		c.has_cpu = read_number(s->cpu, "cpuacct.usage", &c.cpu_ns);
	}
	read_io(s, &c);
	/* What the host's end sends is what the container receives. */
	c.has_net = read_number(s->net, "tx_bytes", &c.received) && read_number(s->net, "rx_bytes", &c.sent);
	return c;
}

/* ---- samples ---- */

static double percent(double part, double whole, double most)
{
	double p = whole > 0 ? part * 100 / whole : 0;

	return p < 0 ? 0 : p > most ? most : p;
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static void sample_counters(struct instance *i, bool last, struct wall t, struct metric_out *out)
{
	struct counters c = read_counters(&i->s);
	const struct counters *p = &i->last;
	int64_t ns = c.at.ns - p->at.ns;

	/* Very soon after the one before, a sample says nothing about time; but the first and last of a short job does.
	 */
	if (ns < (int64_t)LEAST_MS * 1000000 && !(last && !p->has_cpu))
		return;
	if (c.has_cpu && ns > 0)
		metric_out_sample(out, t, "CPUUtilization",
		                  percent((double)since(c.cpu_ns, p->cpu_ns), (double)ns, 100 * i->s.cpus), "Percent");
	if (c.has_net) {
		metric_out_sample(out, t, "NetworkReceiveBytes", (double)since(c.received, p->received), "Bytes");
		metric_out_sample(out, t, "NetworkTransmitBytes", (double)since(c.sent, p->sent), "Bytes");
	}
	if (c.has_io) {
		metric_out_sample(out, t, "DiskReadBytes", (double)since(c.read, p->read), "Bytes");
		metric_out_sample(out, t, "DiskWriteBytes", (double)since(c.written, p->written), "Bytes");
	}
	i->last = c;
}

/* Of a container that has ended before it was looked at, the most that it ever had. */
static bool read_memory(const struct instance_sources *s, bool peak, uint64_t *ret)
{
	uint64_t cache = 0;

	if (peak)
		return read_number(s->memory, s->unified ? "memory.peak" : "memory.max_usage_in_bytes", ret);
	if (!read_number(s->memory, s->unified ? "memory.current" : "memory.usage_in_bytes", ret))
		return false;
	if (read_key(s->memory, "memory.stat", s->unified ? "inactive_file" : "total_inactive_file", &cache))
		*ret = since(*ret, cache);
	return true;
}

static void sample_memory(struct instance *i, bool last, struct wall t, struct metric_out *out)
{
	uint64_t used;

	if ((last && i->remembered) || !i->s.memory_bytes || !read_memory(&i->s, last, &used))
		return;
	metric_out_sample(out, t, "MemoryUtilization", percent((double)used, (double)i->s.memory_bytes, 100),
	                  "Percent");
	i->remembered = true;
}

static void sample_disk(const struct instance *i, struct wall t, struct metric_out *out)
{
	struct statfs fs;
	double used;

	if (i->s.volume < 0 || fstatfs(i->s.volume, &fs) < 0 || !fs.f_blocks)
		return;
	used = (double)(fs.f_blocks - fs.f_bfree);
	metric_out_sample(out, t, "DiskUtilization", percent(used, used + (double)fs.f_bavail, 100), "Percent");
}

/* ---- GPUs ---- */

static bool take_figure(struct str *line, double *ret)
{
	return number_parse(str_cut(line, ','), ret) == NUMBER_OK && *ret >= 0 && *ret <= 100;
}

bool instance_gpu_line(struct str line, double *ret_busy, double *ret_memory)
{
	return take_figure(&line, ret_busy) && take_figure(&line, ret_memory) && !line.n;
}

static void take_gpu_line(struct instance *i, struct str line)
{
	struct str index = str_cut(&line, ',');
	double busy, memory;
	uint64_t n;

	if (!str_to_u64(str_trim(index), &n) || n >= GPUS_MAX || !instance_gpu_line(line, &busy, &memory))
		return;
	i->busy[n] = busy;
	i->memory[n] = memory;
	i->has_gpu = true;
}

static void sample_gpu(struct instance *i, struct wall t, struct metric_out *out)
{
	double busy = 0, memory = 0;
	char bytes[4096];
	ssize_t n;

	while (i->s.gpu >= 0 && (n = read(i->s.gpu, bytes, sizeof(bytes))) > 0)
		for (ssize_t k = 0; k < n; k++) {
			if (bytes[k] == '\n') {
				take_gpu_line(i, (struct str){ i->line, i->line_n });
				i->line_n = 0;
			} else if (i->line_n < sizeof(i->line)) {
				i->line[i->line_n++] = bytes[k];
			}
		}
	if (!i->has_gpu)
		return;
	for (size_t k = 0; k < GPUS_MAX; k++) {
		busy += i->busy[k];
		memory += i->memory[k];
	}
	metric_out_sample(out, t, "GPUUtilization", busy, "Percent");
	metric_out_sample(out, t, "GPUMemoryUtilization", memory, "Percent");
}

void instance_sample(struct instance *i, bool last, struct metric_out *out)
{
	struct wall t = wall_now();

	sample_counters(i, last, t, out);
	sample_memory(i, last, t, out);
	sample_disk(i, t, out);
	sample_gpu(i, t, out);
}
