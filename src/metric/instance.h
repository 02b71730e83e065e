/* instance.h - what a training host uses, as the service's instance metrics (contract 6.3) and a few more.
 *
 *   CPUUtilization         Percent   100 for each core that is busy: 0 to 100 x cores
 *   MemoryUtilization      Percent   of the host's memory, file cache that can be dropped left out
 *   DiskUtilization        Percent   of the job's volume
 *   GPUUtilization         Percent   sum over the GPUs, by nvidia-smi; absent without one
 *   GPUMemoryUtilization   Percent   the same of their memory
 *   NetworkReceiveBytes, NetworkTransmitBytes      Bytes since the last sample, seen from the container
 *   DiskReadBytes, DiskWriteBytes                  Bytes since the last sample, of block devices
 *
 * From the container's cgroup (v1 and v2), the volume's file system and the host's end of its network, all of which are
 * given as descriptors, so that it works for nobody. What cannot be read is left out of the sample. One thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "metric/out.h"

struct instance_sources {    /* descriptors are borrowed; -1: there is none */
	int cpu, memory, io; /* directories of the cgroup; of v2 all the same one */
	int net;             /* .../statistics of the host's end of the container's network */
	int volume;          /* something on the job's volume */
	int gpu;             /* text that nvidia-smi prints, see INSTANCE_GPU_QUERY; not blocking */
	bool unified;        /* cgroup v2 */
	double cpus;         /* the container may use */
	uint64_t memory_bytes;
	int64_t started_ns; /* CLOCK_MONOTONIC: when the cgroup was empty */
};

struct instance;
struct instance *instance_new(const struct instance_sources *s);
void instance_free(struct instance *i); /* NULL is fine */
DEFINE_CLEANUP(struct instance, instance_free)
/* Appends a sample to out. last: the container has ended; what it used when it ran is then only told by counters. */
void instance_sample(struct instance *i, bool last, struct metric_out *out);

/* What nvidia-smi is asked for: figures, a line a GPU and second. Its own loop, as to start it anew takes longer than
 * that on some machines. */
#define INSTANCE_GPU_QUERY "--query-gpu=index,utilization.gpu,utilization.memory"
/* One line of it, the index left out: "37, 12"; false: it is something else. */
bool instance_gpu_line(struct str line, double *ret_busy, double *ret_memory);
