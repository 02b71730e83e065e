/* phase.h - the phases of a run, their driver, and what they share. Private to src/run/.
 *
 * Everything happens on one thread, on the run's loop. A phase function does a short piece of work and says NEXT, or
 * starts something and says WAIT, to call run_next() or run_failed() from a callback later. Between two phases the loop
 * turns once, so a stop is seen at every phase. Work that takes long or reads foreign data is in a child (worker.h).
 *
 * The working directory of the process is <job>/work, and every path below is relative to it, so that no part of a
 * path on the way there can be exchanged under us. Programs that want absolute paths get it as RUN_WORK, where it is
 * mounted in our own namespace: <job> belongs to bloomeryd's user, who may rename what is in it.
 *
 *   tree/     lower layer of this job: /opt/ml, /etc/hosts ...      image/   bind mount of the image's rootfs
 *   volume/   the mounted volume: upper/ and overlay's work/        rootfs/  the overlay, root of the container
 *   bundle/   config.json for the runtime                           runtime/ what the runtime keeps about the container
 *   farm/     channels that are links to objects                    fast/    channels served by bloomery-fuse, mounted
 *   fs/       directories of file systems, mounted                  fsroot/  what a command has mounted
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"
#include "gpu/cdi.h"
#include "jobdir/jobdir.h"
#include "jobdir/spec.h"
#include "joblog/joblog.h"
#include "loop/loop.h"
#include "oci/bundle.h"
#include "run/feeders.h"
#include "run/feeds.h"
#include "run/metrics.h"
#include "run/run.h"
#include "run/worker.h"

#define RUN_WORK "/run/bloomery-job"

enum step { STEP_NEXT, STEP_WAIT, STEP_FAIL };

struct run;
struct phase {
	const char *name;
	enum step (*run)(struct run *r, struct err *e);
	/* The job is to be stopped while this phase waits. It cuts the wait short, and run_next() or run_failed()
	 * follows as always. NULL: the phase is short, or is not cut short. */
	void (*stop)(struct run *r);
	/* Undoes what run() has done, in any state, twice if asked; does not fail but logs. May be NULL. */
	void (*undo)(struct run *r);
};

enum stop_why {
	STOP_NONE,
	STOP_ASKED,    /* StopTrainingJob */
	STOP_EXPIRED,  /* MaxRuntimeInSeconds */
	STOP_PEER,     /* another host of the job has failed */
	STOP_SHUTDOWN, /* SIGTERM to bloomery-job itself: the machine goes down */
};

/* How the container ended. */
struct outcome {
	bool started, exited;
	int code, signal; /* signal != 0: killed by it, code is 128 + signal */
	struct cgroup_stats cgroup;
};

/* One container of the host, from its image to its end. A host of a training job has one, of a transform job as many as
 * the model has. Paths that begin with %s have `path` before them. */
struct box {
	struct run *run;
	char *path;           /* "" of the first; "box-2/", a directory in work/ */
	const char *hostname; /* borrowed, as are the next two */
	const char *image_name, *image_provider;
	struct image image;
	int image_fd; /* holds it against removal */
	bool image_mounted, rootfs_mounted;
	char **args; /* what is executed in it; NULL-terminated, owned */
	char *cgroup;
	int network_ns;     /* what it joins; borrowed of the run or its own; -EBADF: the machine's */
	struct joblog *log; /* where it prints to */
	struct output *output;
	/* of a transform job */
	bool own_network;
	pid_t pid;
	struct loop_source *process;
	struct outcome outcome;
};

struct volume;  /* the file system that is being made, see volume.c */
struct output;  /* the two pipes of the container, see output.c */
struct network; /* see network.c */
struct serving; /* see serving.c */
struct control; /* the socket and the signals, see control.c */

struct run {
	struct run_options options;
	char *job_dir, *data_dir, *programs_dir; /* absolute */
	char *cgroup;                            /* "/bloomery/<id>" */
	int job_fd, work_fd;
	int home_fd; /* work/ again, not through RUN_WORK: what is renamed into the job directory must be on its mount
	              */
	struct job_spec spec;
	struct conf conf; /* only its file systems and cdi_dirs */
	struct journal *journal;
	struct joblog *log;
	struct loop *loop;
	struct control *control;

	/* the driver */
	const struct phase *phases; /* being run; NULL before */
	size_t at;
	bool waiting; /* phases[at] has said WAIT and is not done */
	struct mono phase_started;
	enum stop_why stop;
	bool failed;
	struct buf reason; /* of the failure */
	bool at_end;       /* nothing is left but to wait for the metrics and to undo */

	/* volume, mount */
	struct volume *volume; /* being made; NULL before and after */
	bool volume_mounted, volume_enforced;
	uint64_t volume_bytes;
	/* network */
	struct network *network; /* NULL: none of its own */
	char *credentials_url;   /* where the container finds them when it has the machine's network; NULL: not so */
	int network_ns;          /* what the container joins; -EBADF: the machine's */
	bool isolated;
	/* gpus */
	struct cdi cdi; /* of the machine, when the host has any */
	/* layout */
	char *network_interface;
	/* channels, image, upload: the one child at work */
	struct worker *worker;
	struct loop_source *pull;
	pid_t pull_pid;
	struct feed *feeds; /* a row a channel, see feeds.h */
	struct loop_source *feeds_timer;
	struct feeders *feeders;
	/* image, rootfs, container */
	struct box box[SPEC_MAX_CONTAINERS];
	size_t box_count;
	size_t pulling; /* the box whose image is */
	struct runtime runtime;
	bool container_made;
	struct mono container_started; /* its cgroup was empty */
	bool go;                       /* all hosts of the job are ready */
	/* training */
	pid_t pid;
	struct metrics *metrics;
	struct serving *serving; /* of a transform job, see serving.c */
	struct loop_source *process, *runtime_timer, *grace_timer, *drain_timer;
	bool stop_unheard; /* the first process had no handler for SIGTERM */
	bool drained;      /* its output is not waited for any longer */
	struct outcome outcome;
};

/* Runs the phases (ended by a row without a name) on r->loop until all have been run, one has failed or a stop ends
 * them early, and undoes them. How it went is in *r: failed, reason, stop. -1 only when the loop itself fails. */
int run_drive(struct run *r, const struct phase *phases, struct err *e) must_check;
/* What a waiting phase calls when it is done. */
void run_next(struct run *r);
void run_failed(struct run *r, const struct err *e);
/* Called by metrics.c when it is not to be waited for any longer. */
void run_metrics_ended(struct run *r);
/* Begins to stop; the first call wins. */
void run_stop(struct run *r, enum stop_why why);
/* The job's outcome is this failure, unless there is one already. */
void run_set_reason(struct run *r, struct str reason);

/* Adds a fact; steals args (may be NULL). */
int run_fact(struct run *r, enum fact_kind kind, json_t *args, struct err *e) must_check;
/* A line from the platform in the job's own log. Never fails the run. */
void run_say(struct run *r, const char *fmt, ...) printf_like(2, 3);

extern const struct phase run_phases[], run_transform_phases[];

/* volume.c */
enum step phase_volume(struct run *r, struct err *e); /* begins to make it; the phases up to mount do not need it */
enum step phase_mount(struct run *r, struct err *e);  /* waits until it is made, and mounts it */
void stop_mount(struct run *r);
void undo_volume(struct run *r);         /* undoes both */
pid_t volume_maker(const struct run *r); /* the process that makes it; 0: none */
int volume_space(struct run *r, uint64_t *ret_size, uint64_t *ret_free, uint64_t *ret_free_inodes, struct err *e);
/* network.c */
enum step phase_network(struct run *r, struct err *e);
void network_end(struct run *r);            /* the container has ended: begins to undo it */
pid_t network_remover(const struct run *r); /* the process that does so; 0: none */
void undo_network(struct run *r);
void network_wait(struct run *r); /* at last: until it is gone */
/* gpus.c */
enum step phase_gpus(struct run *r, struct err *e); /* looks whether those of the work order are there */
void undo_gpus(struct run *r);
int gpus_into(const struct run *r, json_t *config, struct err *e) must_check; /* the OCI configuration */
/* layout.c */
enum step phase_layout(struct run *r, struct err *e);
/* The interface of the default route in the text of /proc/net/route, "lo" without one; caller frees. */
char *layout_interface(struct str routes);
/* Makes the tree below tree_fd for the job; in.network_interface as above. The layout phase without its surroundings.
 */
int layout_tree(int tree_fd, const struct job_spec *spec, const char *network_interface, bool isolated, struct err *e);
enum step phase_serving_layout(struct run *r, struct err *e);  /* of a transform job */
int layout_hide_model(int model_fd, struct err *e) must_check; /* the image's own /opt/ml/model does not show through */
/* models.c */
enum step phase_models(struct run *r, struct err *e);
enum step phase_additional(struct run *r, struct err *e); /* of a training job: what its algorithm brings along */
void undo_models(struct run *r);                          /* undoes both */
/* channels.c */
enum step phase_channels(struct run *r, struct err *e);
void stop_worker(struct run *r);
void undo_channels(struct run *r);
/* mounts.c: file systems, and what the container gets mounted. In the child that prepares the channels: the directory
 * of a FileSystemDataSource at fs/<channel>. ERR_CLIENT: there is no such file system or directory. */
int mount_file_system(struct run *r, const struct channel_spec *ch, struct err *e) must_check;
void unmount_file_systems(struct run *r); /* in any state */
/* The bind mounts of the container, one for each channel that is linked, served by FUSE or mounted; *ret_count says how
 * many. Free with channel_mounts_free. */
struct bundle_mount *channel_mounts(const struct run *r, size_t *ret_count);
void channel_mounts_free(struct bundle_mount *mounts, size_t count);
/* image.c */
enum step phase_image(struct run *r, struct err *e);
void stop_image(struct run *r);
void undo_image(struct run *r);
/* rootfs.c */
enum step phase_rootfs(struct run *r, struct err *e);
void undo_rootfs(struct run *r);
/* feeders.c */
enum step phase_feeders(struct run *r, struct err *e);
void stop_feeders(struct run *r);
void undo_feeders(struct run *r);
/* container.c */
int box_find_runtime(struct run *r, struct err *e) must_check;
/* Looks whether b->args can be executed, and writes what the runtime needs. Its root is mounted. */
int box_bundle(struct box *b, char **env, struct err *e) must_check;
/* Makes the container, and with start also starts it; else box_start() does. */
int box_begin(struct box *b, void (*ended)(struct box *b), bool start, pid_t *ret_pid, struct err *e) must_check;
int box_start(struct box *b, struct err *e) must_check;
enum step phase_container(struct run *r, struct err *e); /* makes it; the only host of a job starts it, too */
void undo_container(struct run *r);
enum step phase_start(struct run *r, struct err *e); /* starts it where it has only been made */
/* ready.c, between the two */
enum step phase_ready(struct run *r, struct err *e);
void stop_ready(struct run *r);
void run_go(struct run *r); /* all hosts of the job are ready; may come again */
/* training.c */
enum step phase_training(struct run *r, struct err *e);
void training_output_ended(struct box *b);  /* called by output.c when both pipes have ended */
void training_feeders_ended(struct run *r); /* called by feeders.c when the last has ended, as it was told to */
/* A channel cannot be fed any more: the container is killed, and the job has failed for that reason. */
void training_failed(struct run *r, const struct err *why);
bool process_handles(pid_t pid, int signo); /* has a handler, or blocks it to wait for it */
void stop_training(struct run *r);
void undo_training(struct run *r);
/* serving.c */
enum step phase_serve(struct run *r, struct err *e);     /* makes and starts the containers of a transform job */
enum step phase_transform(struct run *r, struct err *e); /* until the driver has ended */
void stop_transform(struct run *r);
enum step phase_leave(struct run *r, struct err *e); /* until the containers have */
void undo_transform(struct run *r);
/* outputs.c */
enum step phase_outputs(struct run *r, struct err *e); /* gives away what the driver has made */
/* upload.c */
enum step phase_upload(struct run *r, struct err *e);
void undo_upload(struct run *r);

/* box.c: as many as the work order has, in the state before the phases. Twice is fine. */
void boxes_init(struct run *r);
void boxes_fini(struct run *r);
char *box_path(const struct box *b, const char *leaf); /* in work/; the caller frees */
int boxes_open_logs(struct run *r, int log_dirfd, struct err *e) must_check;

/* output.c: reads both pipes into b->log until their end, and calls `ended` (may be NULL). *ret_...: the container's
 * ends. */
int output_open(struct box *b, void (*ended)(struct box *b), int *ret_out_fd, int *ret_err_fd,
                struct err *e) must_check;
void output_close(struct output *o); /* NULL is fine */
bool output_ended(const struct output *o);

/* control.c: <job>/sock and signals. */
int control_open(struct run *r, struct err *e) must_check;
void control_close(struct control *c); /* NULL is fine */

/* environment.c: what the container finds in its environment (contract 1.4); NULL-terminated, free with strv_free. */
char **environment_of(const struct job_spec *spec, const struct image *image, const char *network_interface,
                      const char *credentials_url);
/* The same for a container that serves (contract 7.1, 7.5). */
char **environment_of_serving(const struct box *b);
void strv_free(char **v);

/* inside.c: the container's files as seen from outside, never following anything out of its root. */
int inside_open(int rootfs_fd, const char *path, int flags, struct err *e) must_check;
/* Makes the directories of path (absolute, inside) that are missing, 0755. */
int inside_mkdir(int rootfs_fd, const char *path, struct err *e) must_check;
/* The first max_bytes of a regular file; nothing when there is none. Never blocks. */
void inside_read(int rootfs_fd, const char *path, size_t max_bytes, struct buf *out);
/* Appends "/opt/ml/model 1.2 GB, /tmp 3 MB": the largest directories of a tree, by the blocks they take. */
void inside_largest(int dirfd, size_t max_items, struct buf *out);
