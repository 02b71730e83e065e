/* The launcher of this machine against a listener that speaks the host link. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "harness.h"
#include "job/launcher.h"
#include "jobdir/hostlink.h"

#define ID "0123456789abcdef"

static struct loop *loop;
static struct launcher *launcher;
static struct buf heard, told; /* what the host heard; what we were told */
static int listener = -EBADF, peer = -EBADF;
static struct loop_source *listening, *peering;
static size_t want_heard, want_told;

static void enough(void)
{
	if (heard.n >= want_heard && told.n >= want_told)
		loop_stop(loop);
}

static void on_peer(void *arg, uint32_t events)
{
	json_t *msg = NULL;
	int r;

	(void)arg, (void)events;
	while ((r = hostlink_recv(peer, &msg, NULL)) > 0) {
		char *text = json_dumps(msg, JSON_COMPACT);

		buf_f(&heard, "%s\n", text);
		free(text);
		json_decref(msg);
	}
	enough();
}

static void on_connect(void *arg, uint32_t events)
{
	(void)arg, (void)events;
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	must(peer >= 0);
	peering = loop_fd(loop, peer, EPOLLIN, on_peer, NULL);
}

static void host_up(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/host.sock", test_tmpdir());
	unlink(at.sun_path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0);
	CHECK(listen(listener, 4) == 0);
	listening = loop_fd(loop, listener, EPOLLIN, on_connect, NULL);
}

static void host_down(void)
{
	loop_source_free(listening);
	loop_source_free(peering);
	listening = peering = NULL;
	close(listener);
	if (peer >= 0)
		close(take_fd(peer));
}

static void send_text(const char *text)
{
	json_t *msg = json_loads(text, 0, NULL);

	CHECK_OK(hostlink_send(peer, msg, e));
	json_decref(msg);
}

static void on_up(void *arg)
{
	(void)arg;
	buf_z(&told, "up\n");
	launcher_local.watch(launcher, ID, 3);
	enough();
}
static void on_fact(void *arg, struct str id, const struct fact *f)
{
	(void)arg;
	buf_f(&told, "fact " PRIstr " %llu %s\n", ARGstr(id), (unsigned long long)f->n,
	      f->kind < FACT_COUNT ? fact_name[f->kind] : "?");
	enough();
}
static void on_lost(void *arg, struct str id, struct str reason, struct wall at)
{
	(void)at;
	(void)arg;
	buf_f(&told, "lost " PRIstr " " PRIstr "\n", ARGstr(id), ARGstr(reason));
	enough();
}
static const struct launcher_events events = { on_up, on_fact, on_lost };

static void run_until(size_t heard_bytes, size_t told_bytes)
{
	want_heard = heard_bytes;
	want_told = told_bytes;
	CHECK_OK(loop_run(loop, e));
}

static void start(void)
{
	log_init("test", LOG_ERROR + 1);
	loop = loop_new();
	launcher = launcher_local.open(
	        &(struct launcher_options){ .loop = loop, .data_dir = test_tmpdir(), .events = &events });
}

static void finish(void)
{
	launcher_local.close(launcher);
	loop_free(loop);
}

#define HELLO "{\"t\":\"hello\",\"v\":1}\n"
#define WATCH "{\"t\":\"watch\",\"job\":\"" ID "\",\"after\":3}\n"

static void later(void *arg)
{
	(void)arg;
	host_up();
}

TEST(it_connects_when_the_host_comes_and_again_when_it_comes_back)
{
	struct loop_source *t;

	start();
	t = loop_timer(loop, 120, 0, later, NULL); /* the host is late */
	run_until(strlen(HELLO WATCH), 3);
	CHECK_STR(heard.p, HELLO WATCH);
	launcher_local.launch(launcher, ID);
	launcher_local.stop(launcher, ID, NULL);
	launcher_local.forget(launcher, ID);
	launcher_local.remove(launcher, ID);
	buf_reset(&heard);
	run_until(4 * strlen("{\"t\":\"stop\",\"job\":\"" ID "\"}\n"), 0);
	CHECK_STR(heard.p, "{\"t\":\"launch\",\"job\":\"" ID "\"}\n{\"t\":\"stop\",\"job\":\"" ID "\"}\n"
	                   "{\"t\":\"forget\",\"job\":\"" ID "\"}\n{\"t\":\"delete\",\"job\":\"" ID "\"}\n");
	host_down();
	launcher_local.stop(launcher, ID, NULL); /* lost with the connection: on_up asks again */
	host_up();
	buf_reset(&heard);
	buf_reset(&told);
	run_until(strlen(HELLO WATCH), 3);
	CHECK_STR(heard.p, HELLO WATCH);
	loop_source_free(t);
	host_down();
	finish();
}

TEST(facts_and_losses_are_handed_on_and_nonsense_is_not)
{
	static const char want[] = "up\nfact " ID " 4 TRAINING\nfact " ID " 5 ?\nlost " ID " killed\n";

	start();
	host_up();
	run_until(strlen(HELLO WATCH), 3);
	send_text("{\"t\":\"hello\",\"v\":1,\"runtime\":\"runc\",\"cgroups\":\"v2\"}");
	send_text("{\"t\":\"fact\",\"job\":\"../etc\",\"n\":4,\"at\":1,\"fact\":\"TRAINING\",\"args\":{}}");
	send_text("{\"t\":\"fact\",\"job\":\"" ID "\",\"n\":-4,\"at\":1,\"fact\":\"TRAINING\",\"args\":{}}");
	send_text("{\"t\":\"fact\",\"job\":\"" ID "\",\"n\":4,\"at\":1,\"args\":{}}");
	send_text("{\"t\":\"something new\",\"job\":\"" ID "\"}");
	send_text("{\"t\":\"fact\",\"job\":\"" ID "\",\"n\":4,\"at\":1,\"fact\":\"TRAINING\"}");
	send_text("{\"t\":\"fact\",\"job\":\"" ID "\",\"n\":5,\"at\":1,\"fact\":\"BREATHING\",\"args\":{}}");
	send_text("{\"t\":\"lost\",\"job\":\"" ID "\",\"reason\":\"killed\"}");
	run_until(0, strlen(want));
	CHECK_STR(told.p, want);
	host_down();
	finish();
}

TEST(a_host_that_does_not_read_gets_everything_in_the_end)
{
	enum { MANY = 3000 };
	const char *line = "{\"t\":\"stop\",\"job\":\"" ID "\"}\n";

	start();
	host_up();
	run_until(strlen(HELLO WATCH), 3);
	buf_reset(&heard);
	for (int i = 0; i < MANY; i++) /* more than a socket holds; the loop, and so the host, does not run meanwhile */
		launcher_local.stop(launcher, ID, NULL);
	run_until(MANY * strlen(line), 0);
	CHECK_INT(heard.n, MANY * strlen(line));
	host_down();
	finish();
}
