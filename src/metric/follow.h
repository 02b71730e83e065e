/* follow.h - bloomery-metric: the metrics of one training host, while its container runs.
 *
 * Started by bloomery-job when the container runs, and anew when it dies. It follows the host's log as it grows,
 * samples what the container uses every second, reads the files of metrics that it writes, and appends all of it to
 * <job>/metrics/<host> (out.h). When the pipe at its stdin ends, so has the log: it takes what is left and ends.
 *
 * What the job's log is to say comes to stdout, a JSON object a line: {"say": "a sentence"}. The last one
 * is {"done": true}: all is written, and nothing of the container's is open any more.
 *
 * It works on what a container has printed, with expressions of users, so once its files are open it is nobody, without
 * capabilities, and can write nowhere but in the directory of the metrics.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* All descriptors are borrowed, but those that the order names are closed at the end. Returns the exit status: 0: done,
 * all is written. */
int follow_main(int order_fd, int end_fd, int say_fd);
