/* spec.h - spec.json: everything bloomery-job needs to know, so that it can run on a machine without the database.
 *
 * bloomeryd writes it (spec_to_json), bloomery-job reads it (spec_from_json). Paths in it are relative to the job
 * directory and checked to stay in it: the reader runs as root and trusts the writer no further than it must.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

/* Where an algorithm's AdditionalS3DataSource is. */
#define SPEC_ADDITIONAL "additional_s3_data"
#define SPEC_ADDITIONAL_PATH "/opt/ml/" SPEC_ADDITIONAL
enum {
	SPEC_VERSION = 1,
	SPEC_MAX_BYTES = 16 << 20,
	SPEC_MAX_CHANNELS = 20,
	SPEC_MAX_GPUS = 64,
	SPEC_MAX_CONTAINERS = 15
};

/* Where a channel's, a model's or an artifact's bytes live. The last one is for channels only. */
enum place { PLACE_EMBEDDED, PLACE_REMOTE, PLACE_FILE_SYSTEM };

struct channel_spec {
	char *name;           /* ChannelName; already checked against the pattern, still only used as a leaf */
	char *input_mode;     /* "File" | "Pipe" | "FastFile" */
	char *content_type;   /* NULL when the request had none */
	char *distribution;   /* "FullyReplicated" | "ShardedByS3Key" */
	char *record_wrapper; /* "None" | "RecordIO" */
	char *compression;    /* "None" | "Gzip" */
	enum place place;
	/* This host's part of the units: every share_count-th from share_number (from 0) on, after shuffling. 0 of 1:
	 * all. bloomeryd works it out from the distribution, the hosts and the instance groups; a channel that is not
	 * for this host's group is not in its specification. */
	unsigned share_number, share_count;
	bool shuffled; /* ShuffleConfig is there */
	int64_t shuffle_seed;

	/* S3: NULL or 0 for PLACE_FILE_SYSTEM */
	char *s3_data_type; /* "S3Prefix" | "ManifestFile" | "AugmentedManifestFile" */
	/* bucket and prefix of the objects: S3Uri taken apart, or what a manifest's "prefix" says. Keys are placed
	 * relative to prefix (contract 2.3, 2.4). An augmented manifest: of the manifest itself. */
	char *s3_uri, *bucket, *prefix;
	char *list; /* file name under lists/, see jobdir/list.h */
	uint64_t objects,
	        bytes; /* of the whole list: objects to read (an augmented manifest: lines), and their bytes */

	/* PLACE_FILE_SYSTEM: FileSystemDataSource. NULL otherwise. What the id stands for is looked up by who mounts
	 * it. */
	char *file_system_id, *file_system_type /* "EFS" | "FSxLustre" */, *file_system_access /* "ro" | "rw" */;
	char *directory_path;
};

/* A transform job: what is to be in /opt/ml/model when the container starts. A training job: what is to be in
 * SPEC_ADDITIONAL. */
struct model_spec {
	enum place place;
	char *bucket, *prefix; /* objects are placed at their key without the prefix, as a channel's are */
	char *list;            /* file name under lists/ */
	bool gzip;             /* the list's one object is a tar.gz, which is unpacked */
};

/* A transform job: one of the containers that serve; what one answers is the request of the next. */
struct container_spec {
	char *name;  /* ContainerHostname, or "container-N" */
	char *image; /* as pulled: by digest where that is known */
	/* RepositoryCredentialsProviderArn: by which name bloomery.conf has the credentials for the image's registry.
	 * NULL: none. */
	char *image_provider;
	json_t *environment;      /* name: text; the model's, and over it the job's */
	struct model_spec *model; /* NULL: none */
};

struct job_limits {
	char *instance_type;
	double cpus; /* what the container gets, after clipping to the machine */
	uint64_t memory_bytes, shm_bytes, volume_bytes, pids;
	unsigned gpus; /* how many of its own; which: job_spec.gpu, once they are dealt. Not in spec.json */
	char *clipped; /* a sentence for the log when the machine is smaller than the type, else NULL */
};

struct s3_target {                                                         /* only where something is PLACE_REMOTE */
	char *endpoint, *region, *access_key, *secret_key, *session_token; /* the last may be NULL */
};

/* The network of the host. Without one it has the machine's (none at all when the job is isolated). With peers and no
 * bridge (kind "machine") it has the machine's too, and the peers are other machines. Addresses are of IPv4, as text.
 */
struct network_peer {
	char *name, *address;
	char *public_key; /* of an encrypted network, in hex; else NULL */
};
struct network_spec {
	char *bridge;            /* NULL: the machine's; else the job's, "blm" and 8 hex digits */
	char *address, *gateway; /* this host's, and the machine's, which isolated ones have no use for */
	unsigned prefix;
	bool isolated;              /* peers, and nothing else */
	char *subnet, *traffic;     /* what may pass, in the words of bloomery.conf (net/limits.h); NULL: no limits */
	char *private_key;          /* this host's, in hex: what the hosts send each other is encrypted; or NULL */
	struct network_peer *peers; /* all hosts of the job, this one too */
	size_t peer_count;
};

struct job_spec {
	char *kind; /* "training" or NULL, "transform"; see spec_is_transform */
	char *id, *name, *arn, *region, *account;
	char *host_name; /* "algo-1" */
	unsigned host_number, host_count;
	bool output_hosts_all;       /* of several hosts: /opt/ml/output/data of all is kept, else only the first's */
	uint64_t fastfile_links_max; /* FastFile: links up to this many objects of the embedded store, else FUSE */
	json_t *request;             /* CreateTrainingJob or CreateTransformJob as accepted, defaults filled in */
	struct job_limits limits;
	char *image; /* TrainingImage as given; NULL for a transform job */
	/* A transform job has one, "input": its TransformInput, of which ContentType, compression and how it is split
	 * are read from the request. */
	struct channel_spec *channels;
	size_t channel_count;
	struct container_spec *containers; /* of a transform job, else none */
	size_t container_count;
	struct model_spec *additional; /* of a training job by an algorithm that has such data; else NULL */
	char *instance;                /* of a transform job: "i-0" and the host's id; else NULL */
	int64_t max_runtime_s;         /* 0 for a transform job: it has no limit */
	int64_t stop_grace_s;          /* from SIGTERM to SIGKILL (contract 5.5: 120; 7.1: 30) */
	enum place output_place;
	char *output_bucket, *output_prefix; /* S3OutputPath without trailing slash, split */
	struct s3_target s3;
	struct network_spec network;
	char **gpu; /* the GPUs of this host, by name (gpu/gpu.h): nobody else's as long as it runs */
	size_t gpu_count;
	char *api_url; /* http://127.0.0.1:8770, for AWS_ENDPOINT_URL in the container; may be NULL */
	/* What bloomery-job shows bloomeryd to prove for which host of which job it speaks; it never gets into the
	 * container. NULL: bloomeryd gives none. */
	char *token;
	/* A host that bloomery-host does not run: where bloomeryd is (http://10.0.0.1:8770), and, where whoever starts
	 * it knows, at which address the other hosts reach this one. NULL: there is a job directory here, which they
	 * share. */
	char *server, *address;
	/* "/v2/credentials/...": where the container finds its credentials, at 169.254.170.2. NULL: it gets none. */
	char *credentials_path;
	int64_t log_epoch_s; /* CreationTime in seconds, the number in the log stream's name */
};

json_t *spec_to_json(const struct job_spec *s); /* new reference */
/* Checks every member (types, ranges, ids, leaf names, no "..") and copies. ERR_INVALID names the member. */
int spec_from_json(const json_t *j, struct job_spec *ret, struct err *e) must_check;
int spec_load(const char *job_dir, struct job_spec *ret, struct err *e) must_check;
int spec_save(int job_dirfd, const struct job_spec *s, struct err *e) must_check; /* 0600, atomic, durable */
void spec_fini(struct job_spec *s);
bool spec_is_transform(const struct job_spec *s);
void network_spec_fini(struct network_spec *n);
void s3_target_fini(struct s3_target *t);
void channel_spec_fini(struct channel_spec *ch);
