/* code.c - the rows of code.h.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/code.h"

#include <stdio.h>
#include <stdlib.h>

const struct s3_code_info s3_code_info[S3_CODE_COUNT] = {
#define X(code, status, text) [S3_##code] = { #code, status, text },
	S3_CODES(X)
#undef X
};

enum s3_code s3_say(struct err *e, enum s3_code code, const char *fmt, ...)
{
	char text[ERR_FRAME_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(e, s3_code_info[code].status >= 500 ? ERR_IO : ERR_INVALID, "%s", text);
	return code;
}

static enum err_kind kind_of(enum s3_code code)
{
	switch (s3_code_info[code].status) {
	case 404: return ERR_NOT_FOUND;
	case 403: return ERR_DENIED;
	case 409:
	case 412: return ERR_CONFLICT;
	default: return ERR_INVALID;
	}
}

int s3_code_to_err(enum s3_code code, struct err *e, const char *fmt, ...)
{
	char *what;
	struct buf b = { 0 };
	va_list ap;

	if (code == S3_OK)
		return 0;
	if (code != S3_InternalError)
		err_set(e, kind_of(code), "%s", s3_code_info[code].text);
	va_start(ap, fmt);
	buf_vf(&b, fmt, ap);
	va_end(ap);
	what = buf_take(&b);
	err_in(e, "%s", what);
	free(what);
	return -1;
}
