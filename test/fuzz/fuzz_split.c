/* However an object is shown, single records are the same, and the requests hold every byte once; frames and checksums
 * hold against any bytes. The first two say which type and limit.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "transform/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	uint64_t at, records, hash;
	bool failed;
};

static struct outcome run(struct splitter s, struct str object, size_t piece)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct outcome o = { 0 };
	size_t shown = 0;

	for (;;) {
		struct split_take t = { 0 };
		struct str view = { object.p + s.at, shown - (size_t)s.at };
		uint64_t before = s.at;
		int rc = split_next(&s, view, shown == object.n, &t, NULL, NULL);

		if (rc < 0) {
			o.failed = true;
			break;
		}
		if (rc == 0 && shown == object.n)
			break;
		if (rc == 0) {
			must(view.n < split_window(&s));
			shown = object.n - shown < piece ? object.n : shown + piece;
			continue;
		}
		must(t.bytes && t.records && t.bytes <= view.n && s.at == before + t.bytes);
		must(s.single ? t.records == 1 : t.bytes <= s.limit);
		if (s.single) {
			struct str p = split_payload(s.type, (struct str){ view.p, t.bytes }, &scratch);

			must(p.n <= s.limit);
			for (size_t i = 0; i < p.n; i++)
				o.hash = o.hash * 31 + (unsigned char)p.p[i] + 1;
		}
	}
	must(o.failed || s.at == object.n);
	o.at = s.at;
	o.records = s.records;
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct splitter s = { 0 };
	struct outcome whole, bits;

	if (size < 2)
		return 0;
	s.type = (enum split_type)(data[0] & 3);
	s.limit = (size_t)data[1] + 1;
	for (int single = 0; single < 2; single++) {
		struct str object = { (const char *)data + 2, size - 2 };

		s.single = single;
		whole = run(s, object, size);
		bits = run(s, object, 1 + data[0] % 13);
		must(whole.failed == bits.failed && whole.at == bits.at && whole.records == bits.records &&
		     whole.hash == bits.hash);
	}
	return 0;
}
