/* secret.h - for processes that hold secrets: keys, tokens, passwords.
 *
 * Called first thing in main() of every program of ours that does; no locks, any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* This process leaves no core dump, also not with a program of the machine that collects them, and what /proc has of it
 * is root's, whoever it runs as. What it executes is as others are. */
void no_core_dump(void);
/* Nor do programs that it executes from now on. */
void no_core_dumps_below(void);
