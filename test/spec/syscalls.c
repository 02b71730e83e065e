/* Tries what a training container may not do and what it must be able to, and prints "name ok" or "name errno" lines.
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long rc)
{
	int os = errno;

	if (rc >= 0)
		printf("%s ok\n", name);
	else
		printf("%s %s\n", name, os == EPERM ? "EPERM" : os == ENOSYS ? "ENOSYS" : strerrorname_np(os));
	fflush(stdout);
}

#define TRY(name, ...) say(name, syscall(__VA_ARGS__))

static long clone_in(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? pid : waitpid((pid_t)pid, NULL, 0);
}

static long trace_child(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status) || ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		return -1;
	return waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) ? -1 : 0;
}

static void *nothing(void *arg)
{
	return arg;
}

static long thread(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0 ? 0 : -1;
}

int main(void)
{
	long args[32] = { 0 };
	cpu_set_t cpus;
	char page[4096];

	TRY("mount", SYS_mount, "none", "/tmp", "tmpfs", 0, 0);
	TRY("umount2", SYS_umount2, "/proc", 2);
	TRY("pivot_root", SYS_pivot_root, "/", "/tmp");
	TRY("fsopen", SYS_fsopen, "tmpfs", 0);
	TRY("open_tree", SYS_open_tree, -100, "/", 1);
	TRY("unshare_user", SYS_unshare, CLONE_NEWUSER);
	TRY("unshare_ns", SYS_unshare, CLONE_NEWNS);
	TRY("setns", SYS_setns, 0, 0);
	say("clone_user", clone_in(CLONE_NEWUSER));
	say("clone_net", clone_in(CLONE_NEWNET));
	TRY("clone3", SYS_clone3, args, 64);
	TRY("bpf", SYS_bpf, 5, args, 48);
	TRY("perf_event_open", SYS_perf_event_open, args, 0, -1, -1, 0);
	TRY("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
	TRY("init_module", SYS_init_module, args, 1, "");
	TRY("finit_module", SYS_finit_module, 0, "", 0);
	TRY("delete_module", SYS_delete_module, "x", 0);
	TRY("open_by_handle_at", SYS_open_by_handle_at, -100, args, 0);
	TRY("add_key", SYS_add_key, "user", "x", "y", 1, -3);
	TRY("keyctl", SYS_keyctl, 0, -3, 1);
	TRY("request_key", SYS_request_key, "user", "x", 0, 0);
	TRY("userfaultfd", SYS_userfaultfd, 1);
	TRY("io_uring_setup", SYS_io_uring_setup, 1, args);
	TRY("quotactl", SYS_quotactl, 0x80000100L, 0, 0, 0);
	TRY("swapon", SYS_swapon, "/tmp/x", 0);
	TRY("swapoff", SYS_swapoff, "/tmp/x");
	TRY("reboot", SYS_reboot, 0xfee1dead, 672274793, 0, 0);
	TRY("syslog", SYS_syslog, 3, page, sizeof(page));
	TRY("acct", SYS_acct, 0);
	TRY("sethostname", SYS_sethostname, "x", 1);
	TRY("settimeofday", SYS_settimeofday, args, 0);
	TRY("fanotify_init", SYS_fanotify_init, 0, 0);
	TRY("mbind", SYS_mbind, 0, 0, 0, 0, 0, 0);
	TRY("kcmp", SYS_kcmp, getpid(), getpid(), 0, 0, 0);
	TRY("vhangup", SYS_vhangup);
#ifdef __x86_64__
	TRY("iopl", SYS_iopl, 3);
	TRY("ioperm", SYS_ioperm, 0, 1, 1);
	TRY("nfsservctl", SYS_nfsservctl, 0, 0, 0);
#endif
	TRY("personality_norandom", SYS_personality, ADDR_NO_RANDOMIZE);
	TRY("socket_alg", SYS_socket, 38, SOCK_SEQPACKET, 0);
	TRY("socket_vsock", SYS_socket, 40, SOCK_STREAM, 0);
	TRY("socket_raw", SYS_socket, AF_INET, SOCK_RAW, 1);
	TRY("socket_packet", SYS_socket, AF_PACKET, SOCK_RAW, 0);
	TRY("tiocsti", SYS_ioctl, 0, TIOCSTI, "x");
	TRY("mknod_disk", SYS_mknodat, -100, "/tmp/disk", 0060600, 0xfe00);
	say("open_disk", open("/tmp/disk", O_RDONLY));
	say("thread", thread());
	say("fork", clone_in(0));
	say("trace_child", trace_child());
	say("epoll", epoll_create1(EPOLL_CLOEXEC));
	say("inotify", inotify_init1(IN_CLOEXEC));
	say("timerfd", timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	say("memfd", memfd_create("x", MFD_CLOEXEC));
	say("mlock", mlock(page, sizeof(page)));
	CPU_ZERO(&cpus);
	say("getaffinity", sched_getaffinity(0, sizeof(cpus), &cpus));
	say("setaffinity", sched_setaffinity(0, sizeof(cpus), &cpus));
	TRY("personality_linux", SYS_personality, 0);
	TRY("personality_ask", SYS_personality, 0xffffffff);
	say("tcp", socket(AF_INET, SOCK_STREAM, 0));
	say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	return 0;
}
