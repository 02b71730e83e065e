/* What jobs have tried on the network in vain is in the log, with the name of the job. SPDX-License-Identifier:
 * Apache-2.0 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"
#include "jobdir/spec.h"
#include "net/refused.h"

enum { NAME_BYTES = 64 };

/* Its name in the work order; its id when that cannot be read. */
static void name_of(const struct job *j, char ret[NAME_BYTES])
{
	_cleanup_buf_ struct buf text = { 0 };
	bool read = file_read_plain(j->dir_fd, "spec.json", SPEC_MAX_BYTES, &text, NULL) == 0;
	json_t *spec = read ? json_loadb(text.p, text.n, JSON_ALLOW_NUL, NULL) : NULL;
	const char *name = json_string_value(json_object_get(spec, "name"));

	snprintf(ret, NAME_BYTES, "%s", name && *name ? name : j->id);
	for (char *p = ret; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	json_decref(spec);
}

/* The job whose port or bridge it is: their names have the first digits of the host's or the job's id. */
static const struct job *job_of(const struct host *h, const char *interface)
{
	for (const struct job *j = h->jobs; j; j = j->next) {
		char port[NET_NAME_BYTES], bridge[NET_NAME_BYTES];

		net_port_name(j->id, port);
		net_bridge_name(j->id, bridge);
		if (strcmp(port, interface) == 0 || strcmp(bridge, interface) == 0)
			return j;
	}
	return NULL;
}

static void on_refused(void *arg, const struct net_refused *r)
{
	const struct job *j = job_of(arg, r->interface);
	char name[NAME_BYTES];

	if (!j) {
		log_warn("a job of another server (%s) was refused on the network, " PRIstr ": " PRIstr, r->interface,
		         ARGstr(r->what), ARGstr(r->packet));
		return;
	}
	name_of(j, name);
	log_warn("training job %s (%s) was refused on the network, " PRIstr ": " PRIstr, name, r->interface,
	         ARGstr(r->what), ARGstr(r->packet));
}

void refusals_open(struct host *h)
{
	struct err e = { 0 };

	if (!h->networks || h->no_network)
		return;
	h->ear = net_ear_new(h->loop, on_refused, h, &e);
	if (!h->ear)
		log_err(LOG_WARN, &e, "what jobs are refused on the network will not be in this log");
}
