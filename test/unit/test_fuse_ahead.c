/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/ahead.h"

#include "harness.h"

static const uint64_t TIB = 1ULL << 40;
enum { MIB = 1 << 20 };

TEST(ahead_grows_on_a_sequence)
{
	static struct ahead a;
	uint64_t covered = 0, last_window = 0;
	struct ahead_plan p;

	ahead_init(&a, 128 * MIB);
	for (uint64_t at = 0; at < 400 * (uint64_t)MIB; at += MIB) {
		p = ahead_read(&a, 1, TIB, at, MIB);
		CHECK(a.streams[0].window >= last_window);
		last_window = a.streams[0].window;
		if (p.from == p.to)
			continue;
		CHECK(p.from % AHEAD_BLOCK == 0 && p.piece % AHEAD_BLOCK == 0 && p.piece <= AHEAD_PIECE_MAX);
		CHECK(p.from >= covered);                       /* nothing is planned twice */
		CHECK(p.from <= covered || p.from == at + MIB); /* and nothing left out but what was asked for */
		covered = p.to;
		CHECK(covered <= at + MIB + AHEAD_WINDOW_MAX);
	}
	CHECK_INT(last_window, AHEAD_WINDOW_MAX);
	CHECK(covered >= 400 * (uint64_t)MIB + AHEAD_WINDOW_MAX / 2);
}

TEST(ahead_leaves_random_reads_alone)
{
	static struct ahead a;
	uint64_t state = 1;

	ahead_init(&a, 128 * MIB);
	for (int i = 0; i < 1000; i++) {
		struct ahead_plan p;

		state = state * 6364136223846793005 + 1442695040888963407;
		p = ahead_read(&a, 1, TIB, (state >> 24) + 1, 128 << 10);
		CHECK(p.from == p.to);
	}
}

TEST(ahead_takes_a_sequence_out_of_order)
{
	static struct ahead a;
	uint64_t at = 3 * (uint64_t)MIB;

	ahead_init(&a, 128 * MIB);
	for (int i = 0; i < 100; i++, at += MIB) {
		ahead_read(&a, 1, TIB, at + MIB / 2, MIB / 2);
		ahead_read(&a, 1, TIB, at, MIB / 2);
	}
	CHECK_INT(a.streams[0].window, AHEAD_WINDOW_MAX);
	CHECK_INT(a.streams[1].used, 0);
}

TEST(ahead_stops_at_the_end)
{
	static struct ahead a;
	struct ahead_plan p;

	ahead_init(&a, 128 * MIB);
	p = ahead_read(&a, 1, 300000, 0, 131072);
	CHECK_INT(p.from, 131072);
	CHECK_INT(p.to, 300000);
	p = ahead_read(&a, 1, 300000, 131072, 168928);
	CHECK(p.from == p.to);
	p = ahead_read(&a, 2, 1000, 0, 1000);
	CHECK(p.from == p.to);
}

/* Windows share the budget: as many as there are never plan for more than it. */
TEST(ahead_shares_the_budget)
{
	static struct ahead a;
	uint64_t sum = 0;

	ahead_init(&a, 128 * MIB);
	for (uint64_t at = 0; at < 64 * (uint64_t)MIB; at += MIB)
		for (uint32_t file = 0; file < 40; file++)
			ahead_read(&a, file, TIB, at, MIB);
	for (size_t i = 0; i < AHEAD_STREAMS; i++)
		sum += a.streams[i].window;
	CHECK(sum <= 128 * MIB && sum > 64 * MIB);
}
