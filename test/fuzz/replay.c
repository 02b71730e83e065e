/* replay.c - main() for fuzz targets built without libFuzzer: runs every file of the given corpus directories and then
 * some thousand deterministic mutations of each, so that `make check` keeps what fuzzing found.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32);
}

static void mutate(const uint8_t *p, size_t n)
{
	for (int round = 0; round < 2000; round++) {
		size_t m = n ? (size_t)next() % (n + 1) : 0;
		uint8_t *q;

		if (round & 1)
			m = n;
		q = malloc(m ? m : 1);
		if (!q)
			abort();
		memcpy(q, p, m);
		for (uint32_t k = next() % 4; m && k > 0; k--)
			q[next() % m] = (uint8_t)next();
		LLVMFuzzerTestOneInput(q, m);
		free(q);
	}
}

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = malloc(1 << 20);
	size_t n;

	if (!f || !p)
		return 0;
	n = fread(p, 1, 1 << 20, f);
	fclose(f);
	p = realloc(p, n ? n : 1);
	LLVMFuzzerTestOneInput(p, n);
	mutate(p, n);
	free(p);
	return 1;
}

int main(int argc, char **argv)
{
	int files = 0;

	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);
		struct dirent *ent;

		while (d && (ent = readdir(d))) {
			char path[4096];

			if (ent->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], ent->d_name);
			files += replay_file(path);
		}
		if (d)
			closedir(d);
	}
	if (!files) {
		fprintf(stderr, "no seeds found\n");
		return 1;
	}
	printf("%d seeds and their mutations\n", files);
	return 0;
}
