/* SPDX-License-Identifier: Apache-2.0 */
#include "job/lists.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "iam/iam.h"
#include "job/jobs.h"
#include "job/listing.h"
#include "job/share.h"
#include "jobdir/list.h"

/* ---- a channel ---- */

/* FastFile shows folders, so its prefix may not end within a name (contract 3.6). For the embedded store this was
 * looked at when the job was created, and may have changed since. */
static int check_names(const struct lists *l, const struct channel_spec *ch, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *r = NULL;
	struct str prefix = str_of(ch->prefix);
	struct list_entry entry;
	int fd, more;

	if (!prefix.n || prefix.p[prefix.n - 1] == '/')
		return 0;
	fd = openat(l->dirfd, ch->list, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "reading the list of its objects");
	if (list_open_fd(fd, &r, e) < 0)
		return -1;
	while ((more = list_next(r, &entry, e)) > 0)
		if (entry.key.n > prefix.n && entry.key.p[prefix.n] != '/')
			return err_set(e, ERR_CLIENT,
			               "Data download failed:S3Uri \"%s\" ends within a name: the key s3://%s/" PRIstr
			               " goes on there. In FastFile mode it is to be a whole object or a folder; end a "
			               "folder's with '/'",
			               ch->s3_uri, ch->bucket, ARGstr(entry.key));
	return more;
}

static int refuse_object(struct str bucket, struct str key, struct err *e, const char *fmt, ...) printf_like(4, 5);
static int refuse_object(struct str bucket, struct str key, struct err *e, const char *fmt, ...)
{
	_cleanup_buf_ struct buf why = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&why, fmt, ap);
	va_end(ap);
	return err_set(e, ERR_CLIENT,
	               "Data download failed:Unable to download object s3://" PRIstr "/" PRIstr
	               " (AccessDenied: Access Denied): %s, or leave the object out",
	               ARGstr(bucket), ARGstr(key), why.p);
}

/* For whom the objects are read: the job's role, and the session that created the job, if it is to be asked. */
struct reader {
	const char *job_id, *creator;
	struct str role;
	bool has_policy;
};

static int check_object(const struct lists *l, const struct reader *who, struct str bucket, struct str key,
                        struct err *e)
{
	_cleanup_free_ char *arn = strf("arn:aws:s3:::" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(key));

	if (who->has_policy && iam_ask_role(l->iam, who->role, STR("s3:GetObject"), str_of(arn)) != POLICY_ALLOWS)
		return refuse_object(bucket, key, e,
		                     "the policy of the role " PRIstr
		                     " does not allow s3:GetObject on \"%s\". Allow it",
		                     ARGstr(who->role), arn);
	if (who->creator && !iam_job_may_read(l->iam, who->job_id, bucket, key))
		return refuse_object(
		        bucket, key, e,
		        "it is another training job's output, which the default policy of roles leaves out, and "
		        "%s created this job. Give the role a policy in bloomery.conf",
		        who->creator);
	return 0;
}

static int check_unit(const struct lists *l, const struct reader *who, const struct channel_spec *ch,
                      struct list_reader *r, uint64_t offset, struct err *e)
{
	struct list_part part;
	size_t parts = 0;

	if (list_unit(r, offset, &parts, e) < 0)
		return -1;
	for (size_t i = 0; i < parts; i++) {
		if (list_part(r, &part, e) < 0)
			return -1;
		if (!part.literal &&
		    check_object(l, who, part.object.bucket.n ? part.object.bucket : str_of(ch->bucket),
		                 part.object.key, e) < 0)
			return -1;
	}
	return 0;
}

/* Whether each object may be read; neither a policy nor whose an object is is known by prefixes. */
static int check_reader(const struct lists *l, const struct reader *who, const struct channel_spec *ch, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_free_ uint64_t *offsets = NULL;
	uint64_t count = 0;
	int fd;

	if (!who->has_policy && !who->creator)
		return 0;
	fd = openat(l->dirfd, ch->list, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "reading the list of its objects");
	if (list_open_fd(fd, &r, e) < 0 || list_index(r, &offsets, &count, e) < 0)
		return -1;
	for (uint64_t i = 0; i < count; i++)
		if (listing_check_stop(l, e) < 0 || check_unit(l, who, ch, r, offsets[i], e) < 0)
			return -1;
	return 0;
}

static char *get(const json_t *o, const char *member, const char *otherwise)
{
	const char *z = json_string_value(json_object_get(o, member));

	return z || otherwise ? xstrdup(z ? z : otherwise) : NULL;
}

static int make_list(const struct lists *l, const struct reader *who, size_t i, const json_t *s3,
                     struct channel_spec *ch, struct err *e)
{
	int fd, rc;

	ch->list = strf("%zu", i);
	fd = openat(l->dirfd, ch->list, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "making the list of its objects");
	if (!l->remote) {
		rc = listing_embedded(l, fd, s3, ch, e);
	} else {
		rc = listing_remote(l, fd, s3, ch, e);
		cleanup_closep(&fd);
	}
	if (rc == 0)
		rc = check_reader(l, who, ch, e);
	return rc == 0 && str_is(str_of(ch->input_mode), "FastFile") ? check_names(l, ch, e) : rc;
}

static void fill_file_system(const json_t *fs, struct channel_spec *ch)
{
	ch->place = PLACE_FILE_SYSTEM;
	ch->distribution = xstrdup("FullyReplicated"); /* contract 1.2 */
	ch->file_system_id = get(fs, "FileSystemId", "");
	ch->file_system_type = get(fs, "FileSystemType", "");
	ch->file_system_access = get(fs, "FileSystemAccessMode", "");
	ch->directory_path = get(fs, "DirectoryPath", "");
}

static void fill_s3(const struct lists *l, const json_t *s3, struct channel_spec *ch)
{
	struct str rest, bucket;

	ch->place = l->remote || l->away ? PLACE_REMOTE : PLACE_EMBEDDED;
	ch->distribution = get(s3, "S3DataDistributionType", "FullyReplicated");
	ch->s3_data_type = get(s3, "S3DataType", "S3Prefix");
	ch->s3_uri = get(s3, "S3Uri", "");
	rest = str_of(ch->s3_uri); /* the form was checked when the job was created */
	str_skip(&rest, STR("s3://"));
	bucket = str_cut(&rest, '/');
	ch->bucket = str_dup(bucket);
	ch->prefix = str_dup(rest);
}

static int fill_channel(const struct lists *l, const struct reader *who, size_t i, const json_t *c,
                        const char *job_mode, const struct channel_share *share, struct channel_spec *ret,
                        struct err *e)
{
	const json_t *source = json_object_get(c, "DataSource"), *s3 = json_object_get(source, "S3DataSource");
	const json_t *shuffle = json_object_get(c, "ShuffleConfig");

	ret->name = get(c, "ChannelName", "");
	ret->input_mode = get(c, "InputMode", job_mode);
	ret->content_type = get(c, "ContentType", NULL);
	ret->record_wrapper = get(c, "RecordWrapperType", "None");
	ret->compression = get(c, "CompressionType", "None");
	ret->share_number = share->number;
	ret->share_count = share->count;
	ret->shuffled = shuffle != NULL;
	ret->shuffle_seed = json_integer_value(json_object_get(shuffle, "Seed"));
	if (!s3) {
		fill_file_system(json_object_get(source, "FileSystemDataSource"), ret);
		return 0;
	}
	fill_s3(l, s3, ret);
	return make_list(l, who, i, s3, ret, e);
}

/* The channel's name, where the sentence is the service's and so has to begin as the service's does. */
static int blame_channel(const struct channel_spec *ch, struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	enum err_kind kind;

	if (!e || e->kind != ERR_CLIENT)
		return err_in(e, "channel '%s'", ch->name);
	kind = e->kind;
	err_text(e, text, sizeof(text));
	*e = (struct err){ 0 };
	return err_set(e, kind, "%s (channel %s)", text, ch->name);
}

/* What is copied has to fit into the volume; links, feeds and mounts take nothing of it. What the job copies besides is
 * counted as it goes along. */
static int check_room(const struct job_spec *s, struct err *e)
{
	const double gb = (double)(1 << 30);
	uint64_t sum = 0;

	for (size_t i = 0; i < s->channel_count; i++) {
		const struct channel_spec *ch = &s->channels[i];

		if (ch->place == PLACE_REMOTE && ch->share_count == 1 && str_is(str_of(ch->input_mode), "File"))
			sum += ch->bytes;
	}
	if (!s->limits.volume_bytes || sum <= s->limits.volume_bytes)
		return 0;
	return err_set(
	        e, ERR_CLIENT,
	        "Data download failed:Insufficient disk space. The input data is %.2f GB, the volume %.2f GB: raise "
	        "ResourceConfig.VolumeSizeInGB, or use FastFile or Pipe mode, which take no room",
	        (double)sum / gb, (double)s->limits.volume_bytes / gb);
}

static struct reader reader_of(const struct lists *l, const struct job_spec *s)
{
	const json_t *creator = json_object_get(s->request, JOBS_CREATOR);
	struct reader who = { .job_id = s->id,
		              .role = str_of(json_string_value(json_object_get(s->request, "RoleArn"))) };

	if (l->iam) {
		who.has_policy = iam_has_policy(l->iam, who.role);
		who.creator = json_string_value(json_object_get(creator, "Arn"));
	}
	return who;
}

/* ---- a transform job ---- */

/* TransformInput as a channel that is read while the job runs; its objects are dealt to the hosts one by one. */
static json_t *input_of(const json_t *request)
{
	const json_t *input = json_object_get(request, "TransformInput");
	json_t *s3 = json_copy(json_object_get(json_object_get(input, "DataSource"), "S3DataSource"));
	json_t *c;

	must(s3);
	json_object_set_new(s3, "S3DataDistributionType", json_string("ShardedByS3Key"));
	c = json_pack("{s:s, s:s, s:O, s:{s:o}}", "ChannelName", "input", "InputMode", "Pipe", "CompressionType",
	              json_object_get(input, "CompressionType"), "DataSource", "S3DataSource", s3);
	must(c);
	if (json_object_get(input, "ContentType"))
		json_object_set(c, "ContentType", json_object_get(input, "ContentType"));
	return c;
}

static int make_input(const struct lists *l, const struct reader *who, struct job_spec *s, struct err *e)
{
	const struct channel_share share = { .number = s->host_number - 1, .count = s->host_count };
	json_t *c = input_of(s->request);
	int rc;

	s->channels = xcalloc(1, sizeof(*s->channels));
	s->channel_count = 1;
	rc = fill_channel(l, who, 0, c, "Pipe", &share, &s->channels[0], e);
	json_decref(c);
	return rc < 0 ? blame_channel(&s->channels[0], e) : 0;
}

/* What is placed beside the channels: the model of a container, or what an algorithm brings along. i: of its list. */
static int make_placed(const struct lists *l, const struct reader *who, size_t i, char *name, const json_t *s3,
                       struct model_spec **ret, struct err *e)
{
	struct channel_spec as_channel = { .name = name, .input_mode = xstrdup("File") };
	struct model_spec *m = *ret = xcalloc(1, sizeof(*m));
	int rc;

	fill_s3(l, s3, &as_channel);
	rc = make_list(l, who, i, s3, &as_channel, e);
	if (rc < 0)
		blame_channel(&as_channel, e);
	m->place = as_channel.place;
	m->bucket = take_ptr(as_channel.bucket);
	m->prefix = take_ptr(as_channel.prefix);
	m->list = take_ptr(as_channel.list);
	m->gzip = str_is(str_of(json_string_value(json_object_get(s3, "CompressionType"))), "Gzip");
	channel_spec_fini(&as_channel);
	return rc;
}

static struct str unquoted(struct str s)
{
	return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? (struct str){ s.p + 1, s.n - 2 } : s;
}

/* The algorithm may have said which object it means. That is known here only. */
static int check_etag(const struct lists *l, const struct model_spec *m, struct str wanted, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;

	if (!wanted.n || l->remote)
		return 0;
	if (blob_find(l->blobs, str_of(m->bucket), str_of(m->prefix), &scratch, &found, NULL, e) < 0)
		return err_in(e, "AdditionalS3DataSource of the algorithm");
	if (str_eq(unquoted(found.etag), unquoted(wanted)))
		return 0;
	return err_set(e, ERR_CLIENT,
	               "AdditionalS3DataSource of the algorithm: s3://%s/%s was changed: its ETag is " PRIstr
	               ", and the algorithm wants " PRIstr "; put the old one back, or make the algorithm anew",
	               m->bucket, m->prefix, ARGstr(found.etag), ARGstr(wanted));
}

static int make_additional(const struct lists *l, const struct reader *who, size_t i, struct job_spec *s, struct err *e)
{
	const json_t *source = json_object_get(s->request, JOBS_ADDITIONAL);
	const char *etag = json_string_value(json_object_get(source, "ETag"));

	if (!source)
		return 0;
	if (make_placed(l, who, i, xstrdup("AdditionalS3DataSource"), source, &s->additional, e) < 0)
		return -1;
	return check_etag(l, s->additional, str_of(etag ? etag : ""), e);
}

static int make_transform(const struct lists *l, const struct reader *who, struct job_spec *s, struct err *e)
{
	const json_t *containers = json_object_get(s->request, JOBS_CONTAINERS);

	if (make_input(l, who, s, e) < 0)
		return -1;
	for (size_t i = 0; i < s->container_count; i++) {
		const json_t *source = json_object_get(json_array_get(containers, i), "ModelDataSource");
		const json_t *s3 = json_object_get(source, "S3DataSource");

		if (!s3)
			s3 = source;
		if (s3 && make_placed(l, who, i + 1, strf("model of %s", s->containers[i].name), s3,
		                      &s->containers[i].model, e) < 0)
			return -1;
	}
	return 0;
}

int lists_make(const struct lists *l, struct job_spec *s, struct err *e)
{
	const json_t *algorithm = json_object_get(s->request, "AlgorithmSpecification"), *c;
	const char *mode = json_string_value(json_object_get(algorithm, "TrainingInputMode"));
	const json_t *channels = json_object_get(s->request, "InputDataConfig");
	struct reader who = reader_of(l, s);
	size_t i;

	if (l->transform)
		return make_transform(l, &who, s, e);
	s->channels = xcalloc(json_array_size(channels) + 1, sizeof(*s->channels));
	json_array_foreach (channels, i, c) {
		struct channel_share share = { .count = 1 };
		struct channel_spec *ch = &s->channels[s->channel_count];

		if (s->host_count == 1)
			share = share_of_channel(s->request, c, 1, 1);
		if (share.absent)
			continue;
		s->channel_count++;
		if (fill_channel(l, &who, i, c, mode ? mode : "File", &share, ch, e) < 0)
			return blame_channel(ch, e);
	}
	if (make_additional(l, &who, i, s, e) < 0)
		return -1;
	return s->host_count == 1 ? check_room(s, e) : 0;
}

/* One of the same name is of an earlier try. */
static int link_list(const char *leaf, int from, int to, struct err *e)
{
	if (unlinkat(to, leaf, 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing an old list of objects");
	return linkat(from, leaf, to, leaf, 0) < 0 ? err_sys(e, "linking the list of its objects") : 0;
}

/* One of several hosts of a transform job: every host has all lists. */
static int link_transform(struct job_spec *s, int from, int to, struct err *e)
{
	s->channels[0].share_number = s->host_number - 1;
	s->channels[0].share_count = s->host_count;
	if (from == to)
		return 0;
	if (link_list(s->channels[0].list, from, to, e) < 0)
		return -1;
	for (size_t i = 0; i < s->container_count; i++)
		if (s->containers[i].model && link_list(s->containers[i].model->list, from, to, e) < 0)
			return -1;
	return 0;
}

int lists_for_host(const struct job_spec *s, int lists_fd, int own_lists_fd, struct job_spec *ret, struct err *e)
{
	json_t *copy = spec_to_json(s);
	size_t kept = 0;
	int rc = spec_from_json(copy, ret, e);

	json_decref(copy);
	if (rc < 0)
		return -1;
	if (spec_is_transform(s))
		return link_transform(ret, lists_fd, own_lists_fd, e);
	for (size_t i = 0; i < ret->channel_count; i++) {
		const json_t *asked = json_array_get(json_object_get(s->request, "InputDataConfig"), i);
		struct channel_share share = share_of_channel(s->request, asked, s->host_number, s->host_count);
		struct channel_spec ch = ret->channels[i];

		if (share.absent) {
			channel_spec_fini(&ret->channels[i]);
			continue;
		}
		ret->channels[i] = (struct channel_spec){ 0 };
		ch.share_number = share.number;
		ch.share_count = share.count;
		ret->channels[kept++] = ch;
		if (ch.list && own_lists_fd != lists_fd && link_list(ch.list, lists_fd, own_lists_fd, e) < 0)
			return err_in(e, "channel '%s'", ch.name);
	}
	ret->channel_count = kept;
	if (ret->additional && own_lists_fd != lists_fd &&
	    link_list(ret->additional->list, lists_fd, own_lists_fd, e) < 0)
		return -1;
	return check_room(ret, e);
}

bool lists_are_lazy(const struct job_spec *s)
{
	for (size_t i = 0; i < s->channel_count; i++) {
		const struct channel_spec *ch = &s->channels[i];
		struct str mode = str_of(ch->input_mode);

		if (ch->place != PLACE_EMBEDDED)
			continue;
		if (str_is(mode, "Pipe") || (str_is(mode, "FastFile") && ch->objects > s->fastfile_links_max))
			return true;
	}
	return false;
}
