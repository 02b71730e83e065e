/* conf.h - bloomery.conf: `key = value` lines, '#' comments, unknown keys refused by name. Read once at start.
 *
 * bloomeryd and the command line read all of it. Root's programs act on three things in it, the file systems, the
 * registries and cdi_dirs, and only when nobody but root can have written them (doc/adr/0014): bloomery-host reads
 * those and hands them to bloomery-job.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* The keys there are; the reader refuses others with the file and line. Strings are owned by the struct. */
/* clang-format off */
#define CONF_KEYS(X)                                                                                                    \
	/* key             default            meaning                                                               */  \
	X(account,         "000000000000",    "the account id in every ARN")                                           \
	X(region,          "us-east-1",       "the region in every ARN, and the one clients must sign for")            \
	X(listen,          "127.0.0.1:8770",  "address and port of the API")                                           \
	X(user,            "",                "the user bloomeryd runs as; empty: `bloomery` if there is one, else uid 64123") \
	X(s3_endpoint,     "",                "another S3 for channels and artifacts; empty: the embedded store")       \
	X(s3_region,       "us-east-1",       "its region")                                                            \
	X(s3_access_key,   "",                "its key")                                                               \
	X(s3_secret_key,   "",                "its secret")                                                            \
	X(capacity_cpus,   "",                "cpus that jobs may take together; empty: what the machine has")         \
	X(capacity_memory, "",                "bytes that jobs may take together; empty: memory less a reserve")       \
	X(shm_fraction,    "0.5",             "/dev/shm of a container as a share of its memory")                      \
	X(stop_grace_seconds, "120",          "from SIGTERM to SIGKILL when a job is stopped (the service: 120)")       \
	X(output_hosts,    "first",           "of several hosts, whose /opt/ml/output/data is in output.tar.gz: first or all") \
	X(registry_insecure, "",              "host:port of registries spoken to without TLS, separated by blanks")   \
	X(launcher,        "local",           "who starts the hosts of jobs: bloomery-host of this machine, or `hand`: somebody else, with the work orders of `bloomery host spec`") \
	X(advertise,       "",                "http://HOST[:PORT] of the API as hosts on other machines reach it; without a port, the one it listens on") \
	X(host_patience_seconds, "60",        "how long a host that somebody else started may be silent before it counts as lost") \
	X(network_pool,    "10.213.0.0/16",   "private addresses for the networks of jobs; `none`: jobs share the machine's network") \
	X(gpus,            "auto",            "GPUs for jobs: auto, none, or names separated by blanks (doc/hosts.md)")        \
	X(gpu_shortage,    "fewer",           "`refuse`: a job whose types have more GPUs than there are is refused; `fewer`: it gets what there is") \
	X(cdi_dirs,        "/etc/cdi /var/run/cdi", "where files describe devices (CDI), separated by blanks")         \
	X(log_retention_days, "",             "days after which what training jobs printed is removed, where the log group has no policy; empty: never") \
	X(fastfile_links_max, "5000",         "FastFile: objects of the embedded store that are linked; more are served by FUSE, and 0 serves all so") \
	X(default_role_policy, "",            "the policy file of roles that have none of their own; empty: everything but other jobs' output") \
	X(roles,           "open",            "`strict`: a role that is not named here is refused; `open`: it has the default policy")
/* clang-format on */

/* A file system for channels with a FileSystemDataSource:
 *
 *     file_system.fs-0123456789abcdef0 = /absolute/directory
 *     file_system.fs-0123456789abcdef0 = mount COMMAND with %d
 */
struct conf_file_system {
	char *id;        /* as the API has it: "fs-" and 8 to 18 lower-case hex digits */
	char *directory; /* absolute, without ".."; NULL: there is a command */
	char *mount;     /* words separated by blanks, no shell; %d: where to mount, %o: "ro" or "rw", %%: '%' */
};

/* A policy file of a role (read by iam/):
 *
 *     role.arn:aws:iam::000000000000:role/trainer = FILE
 */
struct conf_role {
	char *arn;   /* NULL: default_role_policy */
	char *file;  /* beside bloomery.conf, unless the path is absolute */
	char *where; /* "FILE:LINE", for sentences */
};

/* How images are pulled from a registry, which is HOST or HOST:PORT as in the names of images. The files are opened by
 * root when an image is pulled (oci/registry.h); a secret is never in here.
 *
 *     registry_auth.registry.example:5000 = FILE         who we are to it
 *     registry_ca.registry.example:5000 = FILE           who signed its certificate, besides those the machine trusts
 *     registry_mirror.docker.io = https://mirror.example http://10.0.0.1:5000/hub      asked first, in this order
 *     registry_credentials.arn:aws:lambda:us-east-1:000000000000:function:NAME = FILE  who we are for jobs that name it
 */
enum conf_registry_kind { CONF_REGISTRY_AUTH, CONF_REGISTRY_CA, CONF_REGISTRY_MIRROR, CONF_REGISTRY_CREDENTIALS };
struct conf_registry {
	enum conf_registry_kind kind;
	char *name;  /* the registry, or the ARN */
	char *value; /* the file, beside bloomery.conf unless the path is absolute; or the URLs, separated by blanks */
	char *where; /* the key, for sentences */
};

/* What the ids of a VpcConfig stand for (read by job/vpc.c):
 *
 *     network.NAME = none | nat [INTERFACE] [RANGE ...]
 *     subnet.ID = NAME
 *     security_group.ID = RULE, RULE ...
 */
enum conf_kind { CONF_NETWORK, CONF_SUBNET, CONF_SECURITY_GROUP };
extern const char *const conf_named_key[]; /* "network." ... */
struct conf_named {
	enum conf_kind kind;
	char *id, *value;
	char *where; /* "FILE:LINE", for sentences */
};

struct conf {
#define X(key, value, meaning) char *key;
	CONF_KEYS(X)
#undef X
	struct conf_file_system *file_systems;
	size_t file_system_count;
	struct conf_role *role;
	size_t role_count;
	struct conf_registry *registry;
	size_t registry_count;
	struct conf_named *named;
	size_t named_count;
};

void conf_init(struct conf *c); /* the defaults */
/* ERR_INVALID with file and line. A missing file is fine and leaves c as it was. */
int conf_read(struct conf *c, const char *path, struct err *e) must_check;
void conf_fini(struct conf *c);

/* What FileSystemId stands for here; NULL: there is no such entry. */
const struct conf_file_system *conf_file_system(const struct conf *c, struct str id);

/* NULL: there is no such entry. */
const struct conf_named *conf_named(const struct conf *c, enum conf_kind kind, struct str id);

/* NULL: there is no such line. Registries are compared without regard to case. */
const struct conf_registry *conf_registry(const struct conf *c, enum conf_registry_kind kind, struct str name);

/* conf_read() for who runs as root. ERR_DENIED when there are file systems, registries' files or cdi_dirs in the file
 * and others than root may have written them: it is not root's, can be written by others, or has another name. A
 * symbolic link, or what is no regular file, is as good as no file: nothing is taken from it. */
int conf_read_root(struct conf *c, const char *path, struct err *e) must_check;
/* The file in memory, for bloomeryd, whose user need not be able to read it: there are keys in it. *ret_fd: -EBADF when
 * there is none, or it is not root's own as above; then bloomeryd opens it as whom it is. */
int conf_copy(const char *path, int *ret_fd, struct err *e) must_check;
int conf_read_copy(struct conf *c, int fd, const char *path, struct err *e) must_check; /* path: for sentences */

/* What a host of a job is told: the file systems, the registries and cdi_dirs as text, and back from a descriptor
 * (`name` is for sentences); nothing else may be in it. */
void conf_host_write(const struct conf *c, struct buf *out);
void conf_registries_write(const struct conf *c, struct buf *out); /* that part of it */
int conf_host_read(struct conf *c, int fd, const char *name, struct err *e) must_check;
/* The words of fs->mount with the places filled in: an argv, NULL-terminated; free with conf_argv_free. */
char **conf_mount_argv(const struct conf_file_system *fs, const char *where, bool writable);
void conf_argv_free(char **argv);
