/* SPDX-License-Identifier: Apache-2.0 */
#include "run/reason.h"

#include <signal.h>

/* ---- words for numbers ---- */

/* clang-format off */
static const struct {
	int signo;
	const char *text, *advice;
} signals[] = {
	{ SIGSEGV, "SIGSEGV (segmentation fault)",
	  "Native code touched memory that is not its own: look at the compiled extension or library named in the last lines, "
	  "and whether it was built for this image." },
	{ SIGBUS, "SIGBUS (bus error)",
	  "Often /dev/shm was full, or a mapped file was cut short under the program: use fewer data loader workers." },
	{ SIGILL, "SIGILL (illegal instruction)",
	  "The program was built for a newer processor than this machine's: rebuild it for a common one." },
	{ SIGFPE, "SIGFPE (arithmetic error)", "Native code divided an integer by zero or overflowed." },
	{ SIGABRT, "SIGABRT (aborted)",
	  "The program gave up by itself (abort, a failed assertion, an uncaught C++ exception); its last lines usually say why." },
	{ SIGKILL, "SIGKILL (killed)", "Something inside the container killed it; the memory limit was not hit." },
	{ SIGTERM, "SIGTERM (terminated)", "Nobody stopped the job, so something inside the container sent it." },
	{ SIGPIPE, "SIGPIPE (broken pipe)", "It wrote to a pipe or connection whose other end was closed." },
	{ SIGSYS, "SIGSYS (bad system call)", "The container's seccomp profile refuses this system call." },
	{ SIGHUP, "SIGHUP (hang-up)", "" },
	{ SIGINT, "SIGINT (interrupted)", "" },
	{ SIGQUIT, "SIGQUIT (quit)", "" },
	{ SIGTRAP, "SIGTRAP (trap)", "" },
	{ SIGALRM, "SIGALRM (alarm)", "" },
	{ SIGUSR1, "SIGUSR1 (user signal 1)", "" },
	{ SIGUSR2, "SIGUSR2 (user signal 2)", "" },
	{ SIGXCPU, "SIGXCPU (cpu time limit)", "" },
	{ SIGXFSZ, "SIGXFSZ (file size limit)", "" },
	{ SIGVTALRM, "SIGVTALRM (virtual alarm)", "" },
	{ SIGPROF, "SIGPROF (profiling timer)", "" },
	{ SIGPOLL, "SIGPOLL (pollable event)", "" },
	{ SIGPWR, "SIGPWR (power failure)", "" },
	{ SIGSTKFLT, "SIGSTKFLT (stack fault)", "" },
};
/* clang-format on */

static ptrdiff_t signal_row(int signo)
{
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		if (signals[i].signo == signo)
			return (ptrdiff_t)i;
	return -1;
}

const char *reason_signal(int signo)
{
	ptrdiff_t i = signal_row(signo);

	return i < 0 ? "a real-time signal" : signals[i].text;
}

void reason_bytes(uint64_t bytes, struct buf *out)
{
	buf_bytes(out, bytes);
}

/* ---- text that may hold anything ---- */

/* The length of the valid UTF-8 sequence at the start of s, 0 if there is none. */
static size_t utf8_length(struct str s)
{
	unsigned char c = (unsigned char)s.p[0];
	size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return n <= s.n && utf8_valid((struct str){ s.p, n }) ? n : 0;
}

static void add_clean(struct str *in, struct buf *out, size_t *chars)
{
	size_t n = utf8_length(*in);
	unsigned char c = (unsigned char)in->p[0];
	bool control = n == 1 && ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f);

	if (n == 0)
		buf_z(out, "\xef\xbf\xbd");
	else if (!control)
		buf_add(out, in->p, n);
	*chars += !control;
	n = n ? n : 1;
	*in = (struct str){ in->p + n, in->n - n };
}

void reason_clean(struct str in, size_t max_chars, struct buf *out)
{
	size_t chars = 0, before_last = out->n;

	while (in.n && chars < max_chars) {
		if (chars + 1 == max_chars)
			before_last = out->n;
		add_clean(&in, out, &chars);
	}
	if (in.n && max_chars > 0 && chars == max_chars) {
		out->n = before_last;
		buf_z(out, "\xe2\x80\xa6");
	}
}

/* The same from the end: the last max_chars characters, whole lines where that is possible. */
static void clean_end(struct str in, size_t max_chars, struct buf *out)
{
	struct buf whole = { 0 };
	struct str s;
	size_t count;

	reason_clean(in, SIZE_MAX, &whole);
	s = buf_view(&whole);
	count = utf8_count(s);
	if (count > max_chars && max_chars > 1) {
		for (; count > max_chars - 1; count--) {
			size_t n = utf8_length(s);

			s = (struct str){ s.p + n, s.n - n };
		}
		if (str_has_byte(s, '\n'))
			str_cut(&s, '\n');
		buf_z(out, "\xe2\x80\xa6");
	}
	if (max_chars > 1)
		buf_str(out, s);
	buf_fini(&whole);
}

static size_t room(const struct buf *b)
{
	size_t used = utf8_count(buf_view(b));

	return used < REASON_MAX ? REASON_MAX - used : 0;
}

/* ---- the pieces of a reason ---- */

static void add_memory(const struct ending *end, struct buf *out)
{
	buf_z(out, "it ran out of memory: the limit is ");
	reason_bytes(end->memory_limit_bytes, out);
	if (end->instance_type && *end->instance_type)
		buf_f(out, " (%s)", end->instance_type);
	if (end->memory_peak_bytes) {
		buf_z(out, ", the peak was ");
		reason_bytes(end->memory_peak_bytes, out);
	}
}

static void add_disk(const struct ending *end, struct buf *out)
{
	buf_z(out, "the volume was full: ");
	reason_bytes(end->volume_bytes, out);
	buf_z(out, " for everything the container writes");
	if (end->largest && *end->largest)
		buf_f(out, ", the largest directories are %s", end->largest);
}

static void add_code(const struct ending *end, struct buf *out)
{
	if (end->signal)
		buf_f(out, "killed by %s, exit code: %d", reason_signal(end->signal), 128 + end->signal);
	else
		buf_f(out, "exit code: %d", end->code);
}

enum { TROUBLE_MAX = 400 }; /* characters */

static void add_trouble(const struct ending *end, struct buf *out)
{
	struct str s = str_trim(end->trouble);

	if (!s.n || room(out) < 40)
		return;
	buf_c(out, ' ');
	reason_clean(s, room(out) < TROUBLE_MAX ? room(out) : TROUBLE_MAX, out);
}

/* The file's text first, as the service does; what else is known goes behind it while there is room. */
static void with_failure_file(const struct ending *end, struct buf *out)
{
	struct buf code = { 0 }, more = { 0 };
	size_t left;

	add_code(end, &code);
	add_trouble(end, &code); /* before there is less room for it */
	if (end->out_of_memory || end->disk_full) {
		buf_z(&more, " (");
		end->out_of_memory ? add_memory(end, &more) : add_disk(end, &more);
		buf_z(&more, ")");
	}
	buf_z(out, "AlgorithmError: ");
	left = room(out) - utf8_count(buf_view(&code)) - 2;
	reason_clean(end->failure, left < REASON_FAILURE_MAX ? left : REASON_FAILURE_MAX, out);
	buf_f(out, ", %s", code.p);
	if (utf8_count(buf_view(&more)) <= room(out))
		buf_str(out, buf_view(&more));
	buf_fini(&code);
	buf_fini(&more);
}

static bool tail_says(const struct ending *end, const char *text)
{
	return str_find(end->tail, str_of(text)) >= 0;
}

/* Why an exit code came about, where the code is a convention. */
static void add_code_advice(const struct ending *end, struct buf *out)
{
	if (end->code > 128 && end->code < 160 && signal_row(end->code - 128) >= 0) {
		ptrdiff_t i = signal_row(end->code - 128);

		buf_f(out, " A shell says with it that a program was killed by %s. %s", reason_signal(end->code - 128),
		      signals[i].advice);
		return;
	}
	if (end->code == 127)
		buf_z(out,
		      " A shell says with it that a command was not found: look whether the program is in the image "
		      "and its directory on PATH.");
	else if (end->code == 126)
		buf_z(out,
		      " A shell says with it that a file could not be executed: `chmod +x` it in the image, and look "
		      "whether it is for this machine.");
	else if (tail_says(end, "ModuleNotFoundError") || tail_says(end, "ImportError"))
		buf_z(out, " A Python module is missing in the image: add it there.");
	else if (!end->serving)
		buf_z(out, " Write what went wrong to /opt/ml/output/failure and it is shown here.");
}

static void add_tail(const struct ending *end, struct buf *out)
{
	static const char lead[] = " Its last lines: ";

	add_trouble(end, out);
	if (str_trim(end->tail).n == 0) {
		if (room(out) > 40)
			buf_z(out, " It printed nothing.");
		return;
	}
	if (room(out) < sizeof(lead) + 20)
		return;
	buf_z(out, lead);
	clean_end(str_trim(end->tail), room(out), out);
}

static void ended_early(const struct ending *end, struct buf *out)
{
	ptrdiff_t i = end->signal ? signal_row(end->signal) : -1;

	buf_f(out,
	      "AlgorithmError: The container %s, which serves the model, ended before the job had: ", end->serving);
	if (end->signal)
		buf_f(out, "%s was ", end->program);
	add_code(end, out);
	buf_c(out, '.');
	if (i >= 0 && *signals[i].advice)
		buf_f(out, " %s", signals[i].advice);
}

static void killed(const struct ending *end, struct buf *out)
{
	ptrdiff_t i = signal_row(end->signal);

	buf_f(out, "AlgorithmError: %s was killed by %s, exit code: %d.", end->program, reason_signal(end->signal),
	      128 + end->signal);
	if (i >= 0 && *signals[i].advice)
		buf_f(out, " %s", signals[i].advice);
}

void reason_of_ending(const struct ending *end, struct buf *out)
{
	struct ending known = *end;
	struct buf text = { 0 };

	if (!known.program || !*known.program)
		known.program = "The training program";
	if (str_trim(end->failure).n) {
		with_failure_file(&known, &text);
	} else if (end->out_of_memory) {
		buf_z(&text,
		      "ClientError: Please use an instance type with more memory, or reduce the size of job data "
		      "processed on an instance. ");
		if (end->serving)
			buf_f(&text, "The container %s was killed because ", end->serving);
		else
			buf_z(&text, "The training container was killed because ");
		add_memory(&known, &text);
		buf_z(&text, ". A smaller batch, fewer data loader workers or reading the data in pieces also help; ");
		add_code(&known, &text);
		buf_z(&text, ".");
		add_tail(&known, &text);
	} else if (end->disk_full) {
		buf_z(&text, "ClientError: Insufficient disk space: ");
		add_disk(&known, &text);
		buf_z(&text, ". Raise ResourceConfig.VolumeSizeInGB or write less; ");
		add_code(&known, &text);
		buf_z(&text, ".");
		add_tail(&known, &text);
	} else if (end->machine_disk_full) {
		buf_z(&text,
		      "CapacityError: The machine's disk is full, so that what the container wrote to its volume could "
		      "not be kept. Free some space in Bloomery's data directory and create the job again; ");
		add_code(&known, &text);
		buf_z(&text, ".");
		add_tail(&known, &text);
	} else {
		if (end->serving)
			ended_early(&known, &text);
		else if (end->signal)
			killed(&known, &text);
		else
			buf_f(&text, "AlgorithmError: , exit code: %d.", end->code);
		if (end->processes_full)
			buf_f(&text,
			      " It was refused a new process: the limit is %llu processes and threads; use fewer "
			      "workers.",
			      (unsigned long long)end->processes_limit);
		else if (!end->signal)
			add_code_advice(&known, &text);
		add_tail(&known, &text);
	}
	reason_clean(buf_view(&text), REASON_MAX, out);
	buf_fini(&text);
}

/* Whether the text says itself whose fault it is. */
static bool has_prefix(struct str s)
{
	static const char *const prefixes[] = { "AlgorithmError: ", "ClientError: ", "CapacityError: ",
		                                "InternalServerError: " };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		if (str_starts(s, str_of(prefixes[i])))
			return true;
	return false;
}

void reason_of_error(const struct err *e, struct buf *out)
{
	char text[4096];
	struct buf b = { 0 };
	struct str chain = str_of(err_text(e, text, sizeof(text)));

	if (has_prefix(chain))
		buf_str(&b, chain);
	else if (e->kind == ERR_IO || e->kind == ERR_BUG || e->kind == ERR_BUSY || e->kind == ERR_NONE)
		buf_f(&b, "InternalServerError: We encountered an internal error. Please try again. (" PRIstr ")",
		      ARGstr(chain));
	else
		buf_f(&b, "%s: " PRIstr, err_info[e->kind].reason, ARGstr(chain));
	reason_clean(buf_view(&b), REASON_MAX, out);
	buf_fini(&b);
}
