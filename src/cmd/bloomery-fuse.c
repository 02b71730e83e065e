/* bloomery-fuse: a FastFile channel as a file system; see fuse/fastfile.h.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "fuse/fastfile.h"

#ifdef __has_feature
#define HAS_ASAN __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#else
#define HAS_ASAN 0
#endif

#if HAS_ASAN
/* Confined as it is at its end, it cannot be looked at for leaks. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

int main(int argc, char **argv)
{
	(void)argv;
	if (argc != 1) {
		fputs("usage: bloomery-fuse   (the work order, a JSON object, on stdin)\n", stderr);
		return 2;
	}
	log_init("bloomery-fuse", LOG_INFO);
	no_core_dumps_below(); /* they would hold keys of another S3 */
	return fastfile_main(STDIN_FILENO, STDOUT_FILENO);
}
