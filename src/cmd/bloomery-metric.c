/* bloomery-metric: the metrics of a training host, while it runs (metric/follow.h) or again (metric/again.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "metric/again.h"
#include "metric/follow.h"

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

/* It needs little; who has it eat memory or fill the disk with what it held is to get nothing from it. */
static void limit(void)
{
	const struct rlimit memory = { 512 << 20, 512 << 20 }, none = { 0, 0 };

	if (!HAS_ASAN)
		setrlimit(RLIMIT_DATA, &memory);
	setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
	bool again = argc > 1 && str_is(str_of(argv[1]), "again");
	uint64_t order;

	argc -= again;
	argv += again;
	if (argc < 2 || argc > 3 || !str_to_u64(str_of(argv[1]), &order) || order > 1 << 20) {
		fputs("usage: bloomery-metric [again] ORDER [FOR]   (a descriptor with the work order; without `again` "
		      "it "
		      "ends when stdin does; FOR is for ps)\n",
		      stderr);
		return 2;
	}
	log_init("bloomery-metric", LOG_INFO);
	limit();
	if (again)
		return again_main((int)order, STDOUT_FILENO);
	return follow_main((int)order, STDIN_FILENO, STDOUT_FILENO);
}
