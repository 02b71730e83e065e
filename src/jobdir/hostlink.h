/* hostlink.h - the messages between bloomeryd and bloomery-host: JSON objects, one a packet, over the unix seqpacket
 * socket <data>/host.sock (mode 0600, bloomeryd's user; the host checks the peer's uid). bloomery-host listens, and
 * serves one daemon at a time; a new connection replaces the old one. Both sides tolerate unknown members and refuse
 * unknown "v". Packets are at most HOSTLINK_MAX bytes.
 *
 *   daemon → host   {"t":"hello","v":1}
 *                   {"t":"launch","job":ID}           start bloomery-job for jobs/ID unless it runs or has ended
 *                   {"t":"watch","job":ID,"after":N}  send every fact with n > N, now and from now on
 *                   {"t":"stop","job":ID}             tell the supervisor to stop the container (idempotent);
 *                                                     "why":"peer": another host of the job has failed
 *                   {"t":"go","job":ID}               tell it that all hosts of the job are ready (idempotent)
 *                   {"t":"forget","job":ID}           final and taken: clean up, remove work/ and staged/
 *                   {"t":"delete","job":ID}           as forget, and remove the whole job directory
 *                   {"t":"pack","job":ID,"image":NAME}   put the image into the directory, for a host that is
 *                                                     elsewhere (job/desk.h): image.tar and then image.json, or
 *                                                     image.error, {"status":bloomery-image's,"text"}
 *                   {"t":"scan","image":NAME}          scan the image (oci/scan.h), pulling it first when it is not
 * there
 *                   {"t":"check","n":N,"image":NAME,"command":"train","entrypoint":[..],"arguments":[..],
 *                    "env":["K=V"]}                   look into the image (oci/inspect.h); lists may be left out
 *                   {"t":"digest","n":N,"image":NAME}   ask the image's registry what the name means just now
 * (idempotent) host → daemon   {"t":"hello","v":1,"runtime":"runc 1.1.5","cgroups":"v1", "sealing":"kernel"}   by what
 * traffic between hosts could be encrypted, or "wireguard-go" or ""
 *                   {"t":"fact","job":ID,"n":N,"at":MS,"fact":NAME,"args":{...}}   in order, per job
 *                   {"t":"lost","job":ID,"reason":TEXT}   the supervisor is gone without ENDED; all is cleaned up;
 *                                                         "at":MS, where it is known, when it was seen to be gone
 *
 *                   {"t":"scan","image":NAME,"passed":BOOL}   with "reason":TEXT when it has not passed; or
 * "error":TEXT
 *                   {"t":"check","n":N,"report":{...}}   of what was asked for by that number; or "error":TEXT
 *                   {"t":"digest","n":N,"digest":"sha256:..."}   of what was asked for by that number; or "error":TEXT
 *
 * A supervisor answers in the same way on <job>/sock: {"t":"stop"} and {"t":"go"} with {"t":"ok"}, {"t":"ping"} with
 * {"t":"pong"}.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

enum { HOSTLINK_VERSION = 1, HOSTLINK_MAX = 65536 };

/* Blocking or not as fd is; 0 sent, -1 error (ERR_BUSY: would block). msg is borrowed. */
int hostlink_send(int fd, const json_t *msg, struct err *e) must_check;
/* 1: *ret is a new object with a string member "t"; 0: peer closed; -1: error (ERR_BUSY: nothing there now). */
int hostlink_recv(int fd, json_t **ret, struct err *e) must_check;
