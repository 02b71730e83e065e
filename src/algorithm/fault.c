/* Violations as one sentence. SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>

#include "algorithm/algorithm.h"

void faults_fini(struct faults *f)
{
	buf_fini(&f->text);
	*f = (struct faults){ 0 };
}

void fault(struct faults *f, const char *fmt, ...)
{
	va_list ap;
	size_t from;

	f->count++;
	if (f->text.n > FAULTS_TEXT_BYTES) {
		f->unsaid++;
		return;
	}
	buf_z(&f->text, f->text.n ? "; " : "");
	from = f->text.n;
	va_start(ap, fmt);
	buf_vf(&f->text, fmt, ap);
	va_end(ap);
	if (f->each)
		json_array_append_new(f->each, json_stringn(f->text.p + from, f->text.n - from));
}

int faults_end(const struct faults *f, struct buf *ret_text, struct err *e)
{
	_cleanup_buf_ struct buf all = { 0 };

	if (!f->count)
		return 0;
	buf_f(&all, "%zu validation error%s detected: ", f->count, f->count > 1 ? "s" : "");
	buf_str(&all, buf_view(&f->text));
	if (f->unsaid)
		buf_f(&all, "; and %zu more", f->unsaid);
	if (ret_text)
		buf_str(ret_text, buf_view(&all));
	return err_set(e, ERR_INVALID, "%s", all.p);
}

char *fault_value(struct str value)
{
	bool cut = value.n > FAULT_VALUE_BYTES;
	char *text;

	if (cut)
		value.n = FAULT_VALUE_BYTES;
	while (cut && value.n && ((unsigned char)value.p[value.n] & 0xc0) == 0x80)
		value.n--;
	text = strf(PRIstr "%s", ARGstr(value), cut ? "..." : "");
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return text;
}
