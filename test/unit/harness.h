/* harness.h - unit tests that register themselves; each runs in its own forked child; output is TAP.
 *
 *     TEST(str_cut_without_separator)
 *     {
 *         CHECK(rest.n == 0);
 *         CHECK_STR(err_text(...), "...");
 *     }
 *
 * A CHECK that fails prints where and with what, and the test goes on; a crash fails the test. Tests run with the
 * repository root as the working directory; test_tmpdir() gives a fresh directory that is removed at the end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"

struct test_case {
	const char *name, *file;
	void (*run)(void);
	struct test_case *next;
};

void test_register(struct test_case *t);
void test_failed(const char *file, int line, const char *fmt, ...) printf_like(3, 4);
/* Says that the test cannot run here, and why; return from it afterwards. TAP reports it as skipped. */
void test_skip(const char *why);
bool test_same_text(const char *got, const char *want);
const char *test_tmpdir(void);
/* kill() in tests. A pid that could not be found out is 0 or -1, which would end the whole test run, or more: it fails
 * the test instead. */
int test_kill(const char *file, int line, pid_t pid, int signo);
#define kill(pid, signo) test_kill(__FILE__, __LINE__, pid, signo)
/* Compares with test/golden/NAME; UPDATE=1 in the environment rewrites the file instead. */
void test_golden(const char *file, int line, const char *name, struct str got);

#define TEST(id)                                                                \
	static void test_##id(void);                                            \
	__attribute__((constructor)) static void test_reg_##id(void)            \
	{                                                                       \
		static struct test_case t = { #id, __FILE__, test_##id, NULL }; \
		test_register(&t);                                              \
	}                                                                       \
	static void test_##id(void)

#define CHECK(x) ((x) ? (void)0 : test_failed(__FILE__, __LINE__, "%s does not hold", #x))
#define CHECK_STR(got, want)                                                                      \
	do {                                                                                      \
		const char *got_ = (got), *want_ = (want);                                        \
		if (!test_same_text(got_, want_))                                                 \
			test_failed(__FILE__, __LINE__, "\n  got:  %s\n  want: %s", got_, want_); \
	} while (0)
#define CHECK_INT(got, want)                                                                           \
	do {                                                                                           \
		long long got_ = (long long)(got), want_ = (long long)(want);                          \
		if (got_ != want_)                                                                     \
			test_failed(__FILE__, __LINE__, "%s: got %lld, want %lld", #got, got_, want_); \
	} while (0)
#define CHECK_OK(call)                                                                                       \
	do {                                                                                                 \
		struct err e_ = { 0 }, *e = &e_;                                                             \
		char text_[4096];                                                                            \
		if ((call) < 0)                                                                              \
			test_failed(__FILE__, __LINE__, "%s: %s", #call, err_text(e, text_, sizeof(text_))); \
	} while (0)
#define CHECK_GOLDEN(name, got) test_golden(__FILE__, __LINE__, name, got)
