/* stopwatch.c - the clock of the benchmark, static, for trainers in containers and for their peers on the host alike.
 * Every verb prints `stopwatch LABEL NUMBER`. SPDX-License-Identifier: Apache-2.0
 *
 * stopwatch run LABEL COMMAND...             seconds that the command takes; fails if it does
 * stopwatch first LABEL FILE                 the time of day, in seconds, at which the first byte of FILE was there;
 * and as LABEL-took how long after the start of this program that was stopwatch random LABEL FILE SECONDS THREADS reads
 * of 128 KiB at random places of FILE, a second
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 128 << 10, MAX_THREADS = 64 };

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what)
{
	fprintf(stderr, "stopwatch: %s: %s\n", what, strerror(errno));
	return 1;
}

static int run(const char *label, char **argv)
{
	double begin = seconds(CLOCK_MONOTONIC);
	pid_t pid = fork();
	int status;

	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return fail(argv[0]);
	if (status) {
		fprintf(stderr, "stopwatch: %s failed, status %#x\n", argv[0], (unsigned)status);
		return 1;
	}
	printf("stopwatch %s %.6f\n", label, seconds(CLOCK_MONOTONIC) - begin);
	return 0;
}

static int first(const char *label, const char *path)
{
	double begin = seconds(CLOCK_MONOTONIC);
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &byte, 1) != 1)
		return fail(path);
	printf("stopwatch %s %.6f\n", label, seconds(CLOCK_REALTIME));
	printf("stopwatch %s-took %.6f\n", label, seconds(CLOCK_MONOTONIC) - begin);
	return 0;
}

struct reader {
	pthread_t thread;
	int fd;
	uint64_t places, state, reads;
	double end;
	int error;
};

static void *reads(void *arg)
{
	struct reader *r = arg;
	char *buf = malloc(READ_BYTES);

	while (buf && seconds(CLOCK_MONOTONIC) < r->end) {
		r->state = r->state * 6364136223846793005u + 1442695040888963407u;
		if (pread(r->fd, buf, READ_BYTES, (off_t)((r->state >> 33) % r->places * READ_BYTES)) != READ_BYTES) {
			r->error = errno ? errno : EIO;
			break;
		}
		r->reads++;
	}
	free(buf);
	return NULL;
}

static int randomly(const char *label, const char *path, double for_s, unsigned threads)
{
	struct reader r[MAX_THREADS];
	struct stat st;
	uint64_t n = 0;
	double begin;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(path);
	if (st.st_size < READ_BYTES || threads < 1 || threads > MAX_THREADS) {
		errno = EINVAL;
		return fail(path);
	}
	begin = seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < threads; i++) {
		r[i] = (struct reader){
			.fd = fd, .places = (uint64_t)st.st_size / READ_BYTES, .state = i + 1, .end = begin + for_s
		};
		if ((errno = pthread_create(&r[i].thread, NULL, reads, &r[i])))
			return fail("thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(r[i].thread, NULL);
		if ((errno = r[i].error))
			return fail(path);
		n += r[i].reads;
	}
	printf("stopwatch %s %.3f\n", label, (double)n / (seconds(CLOCK_MONOTONIC) - begin));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && !strcmp(argv[1], "run"))
		return run(argv[2], argv + 3);
	if (argc == 4 && !strcmp(argv[1], "first"))
		return first(argv[2], argv[3]);
	if (argc == 6 && !strcmp(argv[1], "random"))
		return randomly(argv[2], argv[3], strtod(argv[4], NULL), (unsigned)strtoul(argv[5], NULL, 10));
	fprintf(stderr, "usage: stopwatch run|first|random LABEL ...\n");
	return 2;
}
