/* fuzz_jobdir.c - what root reads and another user may have written: a specification, a fact of the journal, a
 * channel's list, by the first byte. What is refused must carry a reason; what is accepted must come back the same when
 * written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/jobdir.h"
#include "jobdir/list.h"
#include "jobdir/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_spec(struct str in)
{
	json_t *j = json_loadb(in.p, in.n, JSON_REJECT_DUPLICATES, NULL), *out;
	struct job_spec s = { 0 }, again = { 0 };
	struct err e = { 0 };

	if (!j)
		return;
	if (spec_from_json(j, &s, &e) == 0) {
		must(!strchr(s.host_name, '/') && job_id_valid(str_of(s.id)));
		for (size_t i = 0; i < s.channel_count; i++)
			must(!strchr(s.channels[i].name, '/') && strcmp(s.channels[i].name, "..") != 0);
		out = spec_to_json(&s);
		must(spec_from_json(out, &again, &e) == 0);
		json_decref(out);
		spec_fini(&again);
		spec_fini(&s);
	} else {
		must(e.kind == ERR_INVALID && e.depth > 0);
	}
	json_decref(j);
}

static void try_fact(struct str in)
{
	_cleanup_buf_ struct buf line = { 0 };
	struct err e = { 0 };
	struct fact f, back;

	if (fact_parse(in, &f, &e) < 0) {
		must(e.kind == ERR_SYNTAX && e.depth > 0);
		return;
	}
	fact_write(&f, &line);
	must(line.p[line.n - 1] == '\n' && !memchr(line.p, '\n', line.n - 1));
	if (line.n <= FACT_MAX_BYTES) { /* numbers may have become longer */
		must(fact_parse((struct str){ line.p, line.n - 1 }, &back, &e) == 0);
		must(back.n == f.n && back.kind == f.kind && back.at.ms == f.at.ms);
		fact_fini(&back);
	}
	fact_fini(&f);
}

static void try_list(struct str in)
{
	_cleanup_free_ char *path = strf("/tmp/fuzz-jobdir.%d",
	                                 (int)getpid()); /* a real file: links are not followed */
	struct list_reader *r = NULL;
	struct list_entry entry;
	struct err e = { 0 };
	uint64_t *at = NULL, count = 0;
	int rc;

	must(file_put(AT_FDCWD, path, in, 0600, NULL) == 0 && list_open(path, &r, &e) == 0);
	unlink(path);
	while ((rc = list_next(r, &entry, &e)) == 1)
		must(entry.key.n >= 1 && entry.key.n <= 1024 && !str_has_byte(entry.object_id, '/'));
	must(rc == 0 || (e.kind == ERR_SYNTAX && e.depth > 0));
	if (list_index(r, &at, &count, &e) == 0)
		for (uint64_t i = count; i > 0; i--) { /* what was indexed can be read */
			struct list_part part;
			size_t parts;

			must(list_unit(r, at[i - 1], &parts, &e) == 0);
			while (parts--)
				must(list_part(r, &part, &e) == 0 && part.bytes.n <= LIST_LITERAL_MAX);
		}
	free(at);
	list_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data + 1, size - 1 };

	if (size == 0)
		return 0;
	if (data[0] == 's')
		try_spec(rest);
	else if (data[0] == 'f')
		try_fact(rest);
	else
		try_list(rest);
	return 0;
}
