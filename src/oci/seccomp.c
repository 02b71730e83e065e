/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/seccomp.h"

#include <errno.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Allowed whatever the arguments. A name that a libseccomp does not know is left out by the runtime. Not here, beside
 * what needs capabilities that we drop: io_uring (a second way into the kernel around this list), keyctl and its
 * siblings (keys are not namespaced), userfaultfd, bpf, the NUMA policy calls, mount and namespace calls. */
/* clang-format off */
static const char *const allowed[] = {
	/* files and directories */
	"access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range", "creat", "dup",
	"dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fchdir", "fchmod",
	"fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "flock", "fstat",
	"fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd",
	"getdents", "getdents64", "ioctl", "lchown", "lchown32", "link", "linkat", "_llseek", "lseek", "lstat",
	"lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open", "openat",
	"openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read",
	"readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile",
	"sendfile64", "splice", "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat", "sync",
	"sync_file_range", "syncfs", "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime",
	"utimensat", "utimensat_time64", "utimes", "vmsplice", "write", "writev", "chroot", "cachestat",
	/* extended attributes */
	"fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "lgetxattr", "listxattr", "llistxattr",
	"lremovexattr", "lsetxattr", "removexattr", "setxattr",
	/* waiting for files and changes */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
	"epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch", "inotify_init",
	"inotify_init1", "inotify_rm_watch", "_newselect", "poll", "ppoll", "ppoll_time64", "pselect6",
	"pselect6_time64", "select", "signalfd", "signalfd4", "io_cancel", "io_destroy", "io_getevents",
	"io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
	/* memory */
	"brk", "madvise", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall",
	"mmap", "mmap2", "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free",
	"pkey_mprotect", "remap_file_pages", "process_mrelease", "map_shadow_stack",
	/* processes and threads */
	"execve", "execveat", "exit", "exit_group", "fork", "vfork", "wait4", "waitid", "waitpid", "kill", "tkill",
	"tgkill", "pause", "getpid", "getppid", "gettid", "getpgid", "getpgrp", "getsid", "setpgid", "setsid",
	"pidfd_open", "pidfd_send_signal", "prctl", "set_tid_address", "set_robust_list", "get_robust_list",
	"set_thread_area", "get_thread_area", "futex", "futex_time64", "futex_waitv", "futex_wait", "futex_wake",
	"futex_requeue", "rseq", "restart_syscall", "seccomp", "landlock_add_rule", "landlock_create_ruleset",
	"landlock_restrict_self", "process_vm_readv", "process_vm_writev", "ptrace", "capget", "capset",
	/* signals */
	"rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
	"rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack", "sigprocmask", "sigreturn",
	/* scheduling and limits */
	"getcpu", "getpriority", "setpriority", "getrlimit", "setrlimit", "prlimit64", "ugetrlimit", "getrusage",
	"ioprio_get", "ioprio_set", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
	"sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
	"sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
	"sched_yield",
	/* users and groups */
	"getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getresgid",
	"getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid", "setfsgid32", "setfsuid",
	"setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32", "setresgid",
	"setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
	/* time */
	"adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
	"clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer", "gettimeofday",
	"nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
	"timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime",
	"timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
	/* sockets */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
	"recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt",
	"shutdown", "socketcall", "socketpair",
	/* System V and POSIX IPC */
	"ipc", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64",
	"shmat", "shmctl", "shmdt", "shmget", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
	"mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink",
	/* the machine */
	"getrandom", "sysinfo", "uname",
#if defined(__x86_64__)
	"arch_prctl", "modify_ldt",
#elif defined(__aarch64__)
	"arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2",
#endif
};
/* clang-format on */

/* Allowed when an argument compares as said; rows of the same name are alternatives. */
static const struct {
	const char *name, *op;
	uint64_t value;
} allowed_if[] = {
	{ "personality", "SCMP_CMP_EQ", 0x0 },        /* Linux */
	{ "personality", "SCMP_CMP_EQ", 0x8 },        /* Linux, 32 bit */
	{ "personality", "SCMP_CMP_EQ", 0x20000 },    /* uname says 2.6 */
	{ "personality", "SCMP_CMP_EQ", 0x20008 },    /* both */
	{ "personality", "SCMP_CMP_EQ", 0xffffffff }, /* ask only */
	/* Every family but AF_ALG (38: kernel crypto as a way in) and AF_VSOCK (40: the hypervisor, not namespaced). */
	{ "socket", "SCMP_CMP_LT", 38 },
	{ "socket", "SCMP_CMP_EQ", 39 },
	{ "socket", "SCMP_CMP_GT", 40 },
	/* Threads and children, but no new namespaces. */
	{ "clone", "SCMP_CMP_MASKED_EQ",
	  CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP },
};

/* Without x32, which kernels have switched off: each architecture costs some milliseconds at every start. */
static const char *const architectures[] = {
#if defined(__x86_64__)
	"SCMP_ARCH_X86_64",
	"SCMP_ARCH_X86",
#elif defined(__aarch64__)
	"SCMP_ARCH_AARCH64",
	"SCMP_ARCH_ARM",
#else
#error "the seccomp profile knows amd64 and arm64"
#endif
};

static json_t *strings(const char *const *list, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

json_t *seccomp_profile(void)
{
	json_t *rules = json_array(), *profile;

	json_array_append_new(rules,
	                      json_pack("{s:o, s:s}", "names", strings(allowed, sizeof(allowed) / sizeof(*allowed)),
	                                "action", "SCMP_ACT_ALLOW"));
	for (size_t i = 0; i < sizeof(allowed_if) / sizeof(*allowed_if); i++)
		json_array_append_new(rules, json_pack("{s:[s], s:s, s:[{s:i, s:I, s:i, s:s}]}", "names",
		                                       allowed_if[i].name, "action", "SCMP_ACT_ALLOW", "args", "index",
		                                       0, "value", (json_int_t)allowed_if[i].value, "valueTwo", 0, "op",
		                                       allowed_if[i].op));
	/* clone3's flags lie in memory, where a filter cannot look; ENOSYS makes C libraries fall back to clone. */
	json_array_append_new(rules, json_pack("{s:[s], s:s, s:i}", "names", "clone3", "action", "SCMP_ACT_ERRNO",
	                                       "errnoRet", ENOSYS));
	profile = json_pack("{s:s, s:i, s:o, s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", EPERM,
	                    "architectures", strings(architectures, sizeof(architectures) / sizeof(*architectures)),
	                    "syscalls", rules);
	must(profile);
	return profile;
}
