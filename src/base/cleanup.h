/* cleanup.h - declare the undoing with the thing, and hand things over explicitly.
 *
 * take_ptr/take_fd are the only ways ownership moves out of a cleanup variable. An unset descriptor is -EBADF.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <errno.h>
#include <stddef.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep) /* int fd = -EBADF when unset */

#define take_ptr(p)                            \
	({                                     \
		__typeof__(p) take_tmp_ = (p); \
		(p) = NULL;                    \
		take_tmp_;                     \
	})
#define take_fd(fd)                   \
	({                            \
		int take_tmp_ = (fd); \
		(fd) = -EBADF;        \
		take_tmp_;            \
	})

/* Defines fn##p(type **), for use as _cleanup_(fnp); fn is called only with a non-NULL pointer. */
#define DEFINE_CLEANUP(type, fn)           \
	static inline void fn##p(type **p) \
	{                                  \
		if (*p)                    \
			fn(*p);            \
	}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

void cleanup_freep(void *p);  /* p is a T**; frees *p */
void cleanup_closep(int *fd); /* closes *fd if >= 0, keeps errno */
