/* The gallery of failures: what FailureReason says. SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>

#include "harness.h"
#include "run/reason.h"

static char *reason(struct ending end)
{
	struct buf b = { 0 };

	reason_of_ending(&end, &b);
	CHECK(utf8_valid(buf_view(&b)));
	CHECK(utf8_count(buf_view(&b)) <= REASON_MAX);
	return buf_take(&b);
}

static bool has(const char *text, const char *part)
{
	return str_find(str_of(text), str_of(part)) >= 0;
}

static void check_has(int line, const char *text, const char *part)
{
	if (!has(text, part))
		test_failed(__FILE__, line, "\n  got:     %s\n  without: %s", text ? text : "", part);
}
#define CHECK_HAS(text, part) check_has(__LINE__, text, part)

TEST(reason_failure_file_is_the_services_form)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 1, .failure = STR("bad label in row 7") });

	CHECK_STR(r, "AlgorithmError: bad label in row 7, exit code: 1");
}

TEST(reason_failure_file_keeps_its_lines)
{
	_cleanup_free_ char *r = reason(
	        (struct ending){ .code = 2, .failure = STR("ExecuteUserScriptError:\nExitCode 1\nCommand \"x\"") });

	CHECK_STR(r, "AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nCommand \"x\", exit code: 2");
}

TEST(reason_failure_file_is_cut_to_fit)
{
	struct buf b = { 0 };
	char *r;

	for (int i = 0; i < 3000; i++)
		buf_z(&b, "\xc3\xa9");
	r = reason((struct ending){ .code = 9, .failure = buf_view(&b) });
	CHECK_INT(utf8_count(str_of(r)), REASON_MAX);
	CHECK(str_starts(str_of(r), STR("AlgorithmError: \xc3\xa9\xc3\xa9")));
	CHECK(str_ends(str_of(r), STR("\xe2\x80\xa6, exit code: 9")));
	free(r);
	buf_fini(&b);
}

TEST(reason_failure_file_of_bytes)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 1, .failure = STR("a\xff\x00\x1b[31mb\xe2\x82") });

	CHECK_STR(r, "AlgorithmError: a\xef\xbf\xbd[31mb\xef\xbf\xbd\xef\xbf\xbd, exit code: 1");
}

TEST(reason_a_blank_failure_file_counts_as_none)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 5, .failure = STR(" \n"), .tail = STR("last words") });

	CHECK(str_starts(str_of(r), STR("AlgorithmError: , exit code: 5.")));
	CHECK_HAS(r, "last words");
}

TEST(reason_exit_code_has_the_last_lines_and_what_to_do)
{
	_cleanup_free_ char *r = reason(
	        (struct ending){ .code = 4, .tail = STR("step 1\nValueError: no label column\n") });

	CHECK(str_starts(str_of(r), STR("AlgorithmError: , exit code: 4. ")));
	CHECK_HAS(r, "/opt/ml/output/failure");
	CHECK_HAS(r, "Its last lines: step 1\nValueError: no label column");
}

TEST(reason_says_that_nothing_was_printed)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 1 });

	CHECK_HAS(r, "It printed nothing.");
}

TEST(reason_a_long_tail_loses_its_start)
{
	struct buf b = { 0 };
	char *r;

	for (int i = 0; i < 200; i++)
		buf_f(&b, "line number %d\n", i);
	r = reason((struct ending){ .code = 1, .tail = buf_view(&b) });
	CHECK(str_ends(str_of(r), STR("line number 198\nline number 199")));
	CHECK_HAS(r, "Its last lines: \xe2\x80\xa6line number ");
	CHECK(utf8_count(str_of(r)) > REASON_MAX - 20);
	free(r);
	buf_fini(&b);
}

TEST(reason_signals_by_name)
{
	static const struct {
		int signo;
		const char *name;
	} rows[] = { { SIGSEGV, "SIGSEGV (segmentation fault), exit code: 139" },
		     { SIGKILL, "SIGKILL (killed), exit code: 137" },
		     { SIGABRT, "SIGABRT (aborted), exit code: 134" },
		     { SIGILL, "SIGILL (illegal instruction)" },
		     { SIGBUS, "SIGBUS (bus error)" },
		     { 40, "a real-time signal, exit code: 168" } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_free_ char *r = reason((struct ending){ .signal = rows[i].signo, .program = "train" });

		CHECK(str_starts(str_of(r), STR("AlgorithmError: train was killed by ")));
		CHECK_HAS(r, rows[i].name);
	}
}

TEST(reason_a_shells_code_for_a_signal)
{
	_cleanup_free_ char *segv = reason((struct ending){ .code = 139 });
	_cleanup_free_ char *missing = reason((struct ending){ .code = 127, .tail = STR("sh: pyhton: not found") });
	_cleanup_free_ char *mode = reason((struct ending){ .code = 126 });
	_cleanup_free_ char *odd = reason((struct ending){ .code = 200 });

	CHECK_HAS(segv, "exit code: 139. A shell says with it that a program was killed by SIGSEGV");
	CHECK_HAS(missing, "command was not found");
	CHECK_HAS(missing, "pyhton");
	CHECK_HAS(mode, "chmod +x");
	CHECK(!has(odd, "killed"));
}

TEST(reason_out_of_memory_has_limit_and_peak)
{
	struct ending end = { .code = 137,
		              .out_of_memory = true,
		              .memory_limit_bytes = 256 << 20,
		              .memory_peak_bytes = 255 << 20,
		              .instance_type = "ml.m5.large" };
	_cleanup_free_ char *r = reason(end);

	CHECK(str_starts(str_of(r),
	                 STR("ClientError: Please use an instance type with more memory, or reduce the size of "
	                     "job data processed on an instance.")));
	CHECK_HAS(r, "the limit is 256 MiB (ml.m5.large), the peak was 255 MiB");
	CHECK_HAS(r, "exit code: 137");
}

TEST(reason_out_of_memory_behind_a_failure_file)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 1,
	                                                 .failure = STR("DataLoader worker died"),
	                                                 .out_of_memory = true,
	                                                 .memory_limit_bytes = 1ull << 30 });

	CHECK_STR(r, "AlgorithmError: DataLoader worker died, exit code: 1 (it ran out of memory: the limit is 1 GiB)");
}

TEST(reason_disk_full_has_the_largest_directories)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 1,
	                                                 .disk_full = true,
	                                                 .volume_bytes = 1ull << 30,
	                                                 .largest = "/opt/ml/model 1000 MiB, /tmp 3 MiB",
	                                                 .tail = STR("No space left on device") });

	CHECK(str_starts(str_of(r), STR("ClientError: Insufficient disk space: the volume was full: 1 GiB")));
	CHECK_HAS(r, "/opt/ml/model 1000 MiB, /tmp 3 MiB");
	CHECK_HAS(r, "Raise ResourceConfig.VolumeSizeInGB");
	CHECK_HAS(r, "exit code: 1");
	CHECK_HAS(r, "No space left on device");
}

TEST(reason_the_machines_disk_full)
{
	_cleanup_free_ char *r = reason(
	        (struct ending){ .code = 1, .machine_disk_full = true, .tail = STR("I/O error") });

	CHECK(str_starts(str_of(r), STR("CapacityError: The machine's disk is full")));
	CHECK_HAS(r, "exit code: 1");
	CHECK_HAS(r, "I/O error");
}

TEST(reason_too_many_processes)
{
	_cleanup_free_ char *r = reason((struct ending){ .code = 2, .processes_full = true, .processes_limit = 4096 });

	CHECK_HAS(r, "the limit is 4096 processes and threads");
}

TEST(reason_a_missing_module)
{
	_cleanup_free_ char *r = reason(
	        (struct ending){ .code = 1, .tail = STR("ModuleNotFoundError: No module named 'x'") });

	CHECK_HAS(r, "A Python module is missing in the image");
}

TEST(reason_of_error_takes_the_prefix_of_its_kind)
{
	static const struct {
		enum err_kind kind;
		const char *text, *want;
	} rows[] = {
		{ ERR_CLIENT, "Data download failed:no", "ClientError: Data download failed:no" },
		{ ERR_NOT_FOUND, "no such image", "ClientError: no such image" },
		{ ERR_TRAINER, "`train` is empty", "AlgorithmError: `train` is empty" },
		{ ERR_LIMIT, "no room", "CapacityError: no room" },
		{ ERR_IO, "mount: no",
		  "InternalServerError: We encountered an internal error. Please try again. (mount: no)" },
		{ ERR_CLIENT, "AlgorithmError: said already", "AlgorithmError: said already" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = { 0 };
		struct buf b = { 0 };

		err_set(&e, rows[i].kind, "%s", rows[i].text);
		reason_of_error(&e, &b);
		CHECK_STR(b.p, rows[i].want);
		buf_fini(&b);
	}
}

TEST(reason_clean_cuts_whole_characters)
{
	struct buf b = { 0 };

	reason_clean(STR("\xc3\xa9\xc3\xa9\xc3\xa9"), 3, &b);
	CHECK_STR(b.p, "\xc3\xa9\xc3\xa9\xc3\xa9");
	buf_reset(&b);
	reason_clean(STR("\xc3\xa9\xc3\xa9\xc3\xa9"), 2, &b);
	CHECK_STR(b.p, "\xc3\xa9\xe2\x80\xa6");
	buf_reset(&b);
	reason_clean(STR("abc"), 0, &b);
	CHECK_INT(b.n, 0);
	reason_clean(STR("a\r\x01\x7f"
	                 "b\t\n"),
	             10, &b);
	CHECK_STR(b.p, "ab\t\n");
	buf_fini(&b);
}

TEST(reason_any_bytes_are_made_valid_and_fit)
{
	unsigned seed = 1;
	char bytes[4096];

	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
		struct str s = { bytes, sizeof(bytes) - (size_t)round };

		free(reason((struct ending){ .code = 1, .failure = s }));
		free(reason((struct ending){ .code = 1, .tail = s }));
		free(reason((struct ending){ .signal = 9, .tail = s, .out_of_memory = true }));
	}
}

TEST(reason_bytes_are_short)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = { { 0, "0 bytes" },           { 1023, "1023 bytes" },  { 1024, "1 KiB" },
		     { 1536, "1.5 KiB" },        { 1ull << 30, "1 GiB" }, { 1047527424, "999 MiB" },
		     { UINT64_MAX, "16384 PiB" } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b = { 0 };

		reason_bytes(rows[i].bytes, &b);
		CHECK_STR(b.p, rows[i].text);
		buf_fini(&b);
	}
}
