/* err.h - how every failure travels: a kind to branch on, and a chain of sentences for people.
 *
 * A `struct err` lives on the caller's stack; setting it never allocates and never fails. A function that can fail
 * takes `struct err *e` last, returns 0 or -1 and leaves its outputs untouched on failure. `e` may be NULL where the
 * caller does not care. Library code never logs above debug: it returns, and the top of a request or phase logs once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

/* One row decides four behaviours: the error type on the wire, the HTTP status, whether another try may help, and the
 * prefix of FailureReason. Wire names follow the service (contract, section 9). */
/* clang-format off */
#define ERR_KINDS(X)                                                                   \
	/* kind         wire name                    http  retry  FailureReason        */  \
	X(NONE,         "InternalFailure",           500,  0,     "InternalServerError")   \
	X(INVALID,      "ValidationException",       400,  0,     "ClientError")           \
	X(SYNTAX,       "SerializationException",    400,  0,     "ClientError")           \
	X(NOT_FOUND,    "ResourceNotFound",          400,  0,     "ClientError")           \
	X(IN_USE,       "ResourceInUse",             400,  0,     "ClientError")           \
	X(LIMIT,        "ResourceLimitExceeded",     400,  1,     "CapacityError")         \
	X(CONFLICT,     "ConflictException",         400,  0,     "ClientError")           \
	X(DENIED,       "AccessDeniedException",     400,  0,     "ClientError")           \
	X(PARAMETER,    "InvalidParameterValue",     400,  0,     "ClientError")           \
	X(COMBINATION,  "InvalidParameterCombination", 400, 0,    "ClientError")           \
	X(MISSING,      "MissingParameter",          400,  0,     "ClientError")           \
	X(TOKEN,        "InvalidNextToken",          400,  0,     "ClientError")           \
	X(UNKNOWN_OP,   "UnknownOperationException", 400,  0,     "ClientError")           \
	X(NO_HANDLER,   "NotImplementedException",   501,  0,     "ClientError")           \
	X(TOO_LARGE,    "RequestEntityTooLargeException", 413, 0, "ClientError")           \
	X(CLIENT,       "ValidationException",       400,  0,     "ClientError")           \
	X(TRAINER,      "InternalFailure",           500,  0,     "AlgorithmError")        \
	X(IO,           "InternalFailure",           500,  1,     "InternalServerError")   \
	X(BUSY,         "ThrottlingException",       400,  1,     "InternalServerError")   \
	X(BUG,          "InternalFailure",           500,  0,     "InternalServerError")
/* clang-format on */

enum err_kind {
#define X(kind, wire, http, retry, reason) ERR_##kind,
	ERR_KINDS(X)
#undef X
	        ERR_KIND_COUNT
};

struct err_info {
	const char *name, *wire, *reason;
	int http;
	int retry;
};
extern const struct err_info err_info[ERR_KIND_COUNT];

enum { ERR_FRAMES = 6, ERR_FRAME_BYTES = 1400 };

/* frame[0] is the cause, each later frame what was being done; a seventh frame replaces the sixth. */
struct err {
	enum err_kind kind;
	int os; /* errno of the cause, 0 if none */
	unsigned depth;
	char frame[ERR_FRAMES][ERR_FRAME_BYTES];
};

/* All return -1. err_set starts the chain; err_sys starts it as ERR_IO and appends strerror(errno); err_in adds what
 * we were doing. Over-long sentences are cut with "...". */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) printf_like(3, 4);
int err_sys(struct err *e, const char *fmt, ...) printf_like(2, 3);
int err_in(struct err *e, const char *fmt, ...) printf_like(2, 3);

/* Writes the chain, outermost first, joined by ": ", into dst (always NUL-terminated); returns dst. */
char *err_text(const struct err *e, char *dst, size_t dst_bytes);

/* Prints "PROGRAM: chain" to stderr. */
void err_print(const struct err *e, const char *program);

/* An assertion about ourselves, never about input: prints where, and aborts. We are supervised, and state is on disk.
 */
#define must(x) ((x) ? (void)0 : must_failed(#x, __FILE__, __LINE__))
_Noreturn void must_failed(const char *what, const char *file, int line);
