/* feed.h - Pipe mode: what `bloomery-fetch pipe` does, one process for each channel of a training container.
 *
 * Its work order and its answers are those of channel/feeder.h. bloomery-job starts it before the container and ends it
 * with SIGTERM. It runs as root, because the container's files are root's, with what capabilities that needs and no
 * other.
 *
 * When the channel cannot be fed any more it says so, and keeps what is being read open until it is ended or ten
 * seconds have gone by: the trainer must not take the end of the data for the end of the epoch.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The whole program; returns the exit status. in_fd: the work order; out_fd: the answers. */
int feed_main(int in_fd, int out_fd);
