/* The rows of the `bloomery` command. lint: table
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#define END       \
	{         \
		0 \
	}

static const struct cli_option up_options[] = {
	{ "listen", 0, "ADDR:PORT", "where to serve (default: the setting, else 127.0.0.1:8770; port 0 picks one)",
	  false },
	{ "config", 0, "FILE", "settings (default: bloomery.conf in the data directory)", false },
	END,
};
static const struct cli_option env_options[] = {
	{ "json", 0, NULL, "one JSON object instead of lines for a shell", false },
	END,
};
static const struct cli_option image_options[] = {
	{ "json", 0, NULL, "JSON on standard output", false },
	{ "quiet", 'q', NULL, "no progress line", false },
	{ "as", 0, "NAME[:TAG]", "pull: the name it gets here", false },
	{ "config", 0, "FILE", "pull: settings (default: bloomery.conf in the data directory)", false },
	{ "provider", 0, "ARN", "pull: with the credentials of registry_credentials.ARN", false },
	{ "entrypoint", 0, "WORD", "import: what to execute; once for each word", true },
	{ "env", 0, "NAME=VALUE", "import: one more environment variable", true },
	{ "workdir", 0, "DIR", "import: the working directory", false },
	{ "user", 0, "USER[:GROUP]", "import: the user to run as", false },
	{ "max-bytes", 0, "N", "refuse what is larger when unpacked", false },
	END,
};
static const struct cli_option train_options[] = {
	{ "image", 'i', "NAME", "the training image (this, --algorithm or --request is required)", false },
	{ "algorithm", 'a', "NAME", "instead of --image: train by an algorithm", false },
	{ "request", 0, "FILE", "instead: the request as CreateTrainingJob takes it, JSON; - is standard input",
	  false },
	{ "name", 'n', "NAME", "the job's name (default: the image's, and the time)", false },
	{ "channel", 'c', "NAME=FROM", "a channel: an s3:// address, or a local path that is uploaded first", true },
	{ "hp", 'p', "NAME=VALUE", "a hyperparameter", true },
	{ "env", 'e', "NAME=VALUE", "an environment variable of the container", true },
	{ "output", 'o', "s3://...", "where artifacts go (default: s3://BUCKET/output)", false },
	{ "bucket", 0, "NAME", "for uploads and output (default: bloomery; made when it is missing)", false },
	{ "instance-type", 't', "TYPE", "default: local, the whole machine", false },
	{ "hosts", 0, "N", "train on N hosts (default: 1)", false },
	{ "volume-size", 0, "GB", "disk space of the container (default: 10)", false },
	{ "max-runtime", 0, "SECONDS", "stop it after this time (default: 86400)", false },
	{ "input-mode", 0, "MODE", "File, Pipe or FastFile (default: File)", false },
	{ "content-type", 0, "TYPE", "of every channel", false },
	{ "network-isolation", 0, NULL, "no network for the container", false },
	{ "role", 0, "ARN", "the role named in the request; it is kept, and gives no rights", false },
	{ "wait", 'w', NULL, "until it has ended; exit status 0 only when it is Completed", false },
	{ "follow", 'f', NULL, "as --wait, and print its log as it comes", false },
	{ "dry-run", 0, NULL, "create nothing, and say what would fail", false },
	{ "aws", 0, NULL, "--dry-run: what would fail at AWS only counts for the exit status, too", false },
	{ "json", 0, NULL, "the API's reply; with --wait the last description. Log lines go to standard error", false },
	END,
};
static const struct cli_option check_options[] = {
	{ "algorithm", 'a', "NAME", "check it as the image of this algorithm, and the algorithm with it", false },
	{ "serve", 0, NULL, "as the container of a model, which is started with `serve`, instead of `train`", false },
	{ "aws", 0, NULL, "what would fail at AWS only counts for the exit status, too", false },
	{ "json", 0, NULL, "the server's answer", false },
	END,
};
static const struct cli_option jobs_options[] = {
	{ "status", 's', "STATUS", "InProgress, Completed, Failed, Stopping or Stopped", false },
	{ "name-contains", 0, "TEXT", "only jobs with this in their name", false },
	{ "max", 'n', "N", "how many (default: 20)", false },
	{ "oldest-first", 0, NULL, "instead of the newest", false },
	{ "json", 0, NULL, "the API's reply", false },
	END,
};
static const struct cli_option describe_options[] = {
	{ "json", 0, NULL, "the API's reply, and how the channels are fed as its member \"Bloomery\"", false },
	END,
};
static const struct cli_option logs_options[] = {
	{ "follow", 'f', NULL, "until the job has ended and its log is complete", false },
	{ "host", 0, "algo-N", "only what this host printed", false },
	{ "since", 0, "TIME", "only what was printed since: 30s, 5m, 2h or 1d ago, or 2026-11-21T08:46:58Z", false },
	{ "grep", 0, "RE", "only lines that match the extended regular expression", false },
	{ "json", 0, NULL, "each line as a JSON object: host, timestamp (ms), message", false },
	END,
};
static const struct cli_option stop_options[] = {
	{ "wait", 'w', NULL, "until it has stopped", false },
	END,
};

static const struct cli_option host_options[] = {
	{ "address", 0, "A",
	  "the IPv4 address at which the job's other hosts reach this one (default: found out there)", false },
	{ "wait", 'w', NULL, "while the job waits for capacity or is being prepared", false },
	END,
};

static const struct cli_option metrics_options[] = {
	{ "metric", 'm', "NAME", "only this one; on a terminal with a picture of its curve", false },
	{ "instance", 0, NULL, "what the hosts used: CPU, memory, disk, GPU, network", false },
	{ "plot", 'p', NULL, "pictures of the curves", false },
	{ "watch", 'w', NULL, "draw again until the job has ended; into a pipe only what is there then", false },
	{ "csv", 0, NULL, "every value that was reported, with its time, host and step", false },
	{ "json", 0, NULL, "for programs; with --metric also every value", false },
	{ "png", 0, "FILE", "draw into a file; needs gnuplot", false },
	{ "definition", 0, "NAME=REGEX", "refit: what to extract", true },
	END,
};

static const struct cli_option product_options[] = {
	{ "known", 0, NULL, "import: only from a seller who is known here, by `trust` or an earlier import", false },
	{ "quiet", 'q', NULL, "export: do not say what is being done", false },
	{ "json", 0, NULL, "JSON on standard output", false },
	{ "config", 0, "FILE", "settings (default: bloomery.conf in the data directory)", false },
	END,
};

const struct cli_command cli_commands[] = {
	{ "up", "", "run the server in the foreground",
	  "Must be run as root. When it is ready it prints \"bloomery: listening on http://ADDR:PORT\". SIGTERM and "
	  "Ctrl-C\n"
	  "end the server and leave jobs running; the next `bloomery up` takes them over.",
	  up_options, 0, 0, command_up },
	{ "env", "", "print what a shell needs to reach the server", "Use it as: eval \"$(bloomery env)\"", env_options,
	  0, 0, command_env },
	{ "image", "import|pull|list|remove|scan ...", "the images that jobs run",
	  "  bloomery image import NAME[:TAG] FILE|DIR|-   a root file system (tar or directory), OCI or docker "
	  "archive\n"
	  "  bloomery image pull NAME                      from a registry\n"
	  "  bloomery image list\n"
	  "  bloomery image remove NAME[:TAG]\n"
	  "  bloomery image scan NAME                      what speaks against it, and its packages\n\n"
	  "exit status besides 0, 1, 2: 3 not found, 4 in use, 5 not a valid image or name, 6 cannot be pulled, "
	  "7 scanned and not passed",
	  image_options, 1, 3, command_image },
	{ "check", "[IMAGE]", "say what would fail with an image, here and at AWS, before there is a job",
	  "Looks for the program that would be executed and whether it can be, its user, and what AWS has other rules "
	  "for.\n"
	  "exit status besides 0, 1, 2: 3 it would fail here, 4 with --aws: only at AWS",
	  check_options, 0, 1, command_check },
	{ "train", "", "create a training job",
	  "With --dry-run nothing is created or uploaded: the server makes all checks that it makes of a job, and "
	  "looks "
	  "into the\n"
	  "image and at the data. Exit status then: 0 nothing would fail here, 3 something would, 4 with --aws: only "
	  "at "
	  "AWS",
	  train_options, 0, 0, command_train },
	{ "jobs", "", "list training jobs", NULL, jobs_options, 0, 0, command_jobs },
	{ "describe", "NAME", "say all about a job, where its time went, and how its channels are fed",
	  "Of a channel that is fed while the job runs (Pipe, or FastFile without links) it says whether the trainer "
	  "or the "
	  "data\n"
	  "is the bottleneck.",
	  describe_options, 1, 1, command_describe },
	{ "logs", "NAME", "print a job's log",
	  "Of a job of several hosts each line begins with its host's name; on a terminal each host has its colour, "
	  "unless "
	  "NO_COLOR is set. Control characters are shown as the service does: a TAB is #011.",
	  logs_options, 1, 1, command_logs },
	{ "stop", "NAME", "stop a job; what it has made so far is kept", NULL, stop_options, 1, 1, command_stop },
	{ "host", "spec JOB algo-N", "print the work order of a host that is to be started by hand",
	  "With `launcher = hand` in bloomery.conf nobody starts the hosts of jobs. Whoever does runs on the machine, "
	  "as "
	  "root:\n"
	  "  bloomery-job --spec FILE --root DIR\n"
	  "FILE is what this prints. It holds keys of the job: keep it to yourself.",
	  host_options, 3, 3, command_host },
	{ "metrics", "[JOB | try JOB REGEX | refit JOB]", "what a job has measured; without one, the server's numbers",
	  "  bloomery metrics                    what Prometheus gets from GET /metrics\n"
	  "  bloomery metrics JOB                each metric: last value, extremes, count, times, its curve\n"
	  "  bloomery metrics try JOB REGEX      what the expression finds in the job's log, while it runs and after\n"
	  "  bloomery metrics refit JOB          extract a job's metrics again when it has ended, with definitions\n"
	  "                                      given by --definition instead of those of the same names; without "
	  "any,\n"
	  "                                      with those that the job was created with\n\n"
	  "Times are in UTC. refit replaces the values of those metrics, which every API then tells; the definitions "
	  "in\n"
	  "DescribeTrainingJob stay what the job was created with. Quote the expression: 'loss=([0-9.]+)'.",
	  metrics_options, 0, 3, command_metrics },
	{ "product", "export|import|list|remove|trust|key ...", "certified algorithms from one site to another",
	  "  bloomery product export ALGORITHM FILE   images, specification, and what shows that it works, signed\n"
	  "  bloomery product import FILE             check it, and have it as an algorithm, by the ARN that is "
	  "printed\n"
	  "  bloomery product list\n"
	  "  bloomery product remove ARN\n"
	  "  bloomery product trust FINGERPRINT       know a seller, for import --known\n"
	  "  bloomery product key                     the fingerprint of what this site signs with\n\n"
	  "Jobs by a product run without a network.",
	  product_options, 1, 3, command_product },
	END,
};
