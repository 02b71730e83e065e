/* SPDX-License-Identifier: Apache-2.0 */
#include "job/lists.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "iam/iam.h"
#include "job/jobs.h"
#include "job/share.h"
#include "jobdir/list.h"
#include "jobdir/manifest.h"

enum { PIECE_BYTES = 256 << 10 };

/* One list that is being written. */
struct listing {
	const struct lists *lists;
	struct channel_spec *ch;
	FILE *f;
	struct manifest *manifest;
	struct buf scratch[LIST_PARTS_MAX]; /* of a line's objects */
	uint64_t objects, bytes;
};

static int check_stop(const struct lists *l, struct err *e)
{
	return l->stopped(l->arg) ? err_set(e, ERR_BUSY, "listing the channels was ended early") : 0;
}

static bool is_type(const struct channel_spec *ch, const char *type)
{
	return str_is(str_of(ch->s3_data_type), type);
}

/* ---- S3Prefix, embedded ---- */

static struct list_entry entry_of(const struct listing *w, const struct blob_entry *b)
{
	return (struct list_entry){ .size = b->size,
		                    .modified = b->modified,
		                    .object_id = w->lists->away ? STR("-") : b->id,
		                    .etag = b->etag,
		                    .key = b->key };
}

static int write_object(const struct blob_entry *found, void *arg, struct err *e)
{
	struct listing *w = arg;
	const struct list_entry entry = entry_of(w, found);

	if (check_stop(w->lists, e) < 0)
		return -1;
	/* What consoles make of a new folder is nothing to transform, or to place. */
	if (w->lists->transform && !found->size && str_ends(found->key, STR("/")))
		return 0;
	w->objects++;
	w->bytes += found->size;
	return list_write(w->f, &entry, e);
}

/* One object by its whole key. */
static int list_object(struct listing *w, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;
	struct err why = { 0 };

	if (blob_find(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), &scratch, &found, NULL, &why) == 0)
		return write_object(&found, w, e);
	if (why.kind == ERR_NOT_FOUND)
		return err_set(e, ERR_CLIENT,
		               "Data download failed:%s is there no more. It was deleted after the model was created; "
		               "upload it and create the job again",
		               w->ch->s3_uri);
	if (e)
		*e = why;
	return -1;
}

static int list_prefix(struct listing *w, struct err *e)
{
	if (blob_each(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), write_object, w, e) < 0)
		return -1;
	if (w->objects) /* they were there when the job was created */
		return 0;
	return err_set(e, ERR_CLIENT,
	               "Data download failed:No S3 objects are left under S3 URL \"%s\". They were deleted after the "
	               "job was created; upload them and create the job again",
	               w->ch->s3_uri);
}

/* ---- manifests, embedded ---- */

static int find_part(struct listing *w, const struct manifest_unit *u, size_t i, struct list_part *ret, struct err *e)
{
	const struct manifest_part *part = &u->parts[i];
	struct blob_entry found;
	struct err why = { 0 };

	if (part->literal) {
		*ret = (struct list_part){ .literal = true, .bytes = part->bytes };
		w->bytes += part->bytes.n;
		return 0;
	}
	if (blob_find(w->lists->blobs, part->bucket, part->key, &w->scratch[i], &found, NULL, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return manifest_blame(w->manifest, u, part, e,
			                      "which does not exist. Upload it, or take it out of the manifest");
		if (e)
			*e = why;
		return -1;
	}
	*ret = (struct list_part){ .object = entry_of(w, &found) };
	ret->object.bucket = part->bucket;
	w->bytes += found.size;
	return 0;
}

static int write_unit(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct listing *w = arg;
	struct list_part parts[LIST_PARTS_MAX];

	if (check_stop(w->lists, e) < 0)
		return -1;
	for (size_t i = 0; i < u->count; i++)
		if (find_part(w, u, i, &parts[i], e) < 0)
			return -1;
	w->objects++;
	if (is_type(w->ch, "ManifestFile"))
		return list_write(w->f, &parts[0].object, e);
	return list_write_line(w->f, parts, u->count, e);
}

static int feed_file(struct manifest *m, int fd, struct err *e)
{
	_cleanup_free_ char *piece = xcalloc(1, PIECE_BYTES);
	ssize_t n;

	while ((n = read(fd, piece, PIECE_BYTES)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "reading it");
		if (manifest_feed(m, (struct str){ piece, (size_t)n }, e) < 0)
			return -1;
	}
	return manifest_end(m, e);
}

/* The keys of a ManifestFile are placed relative to its prefix, in its bucket. */
static void take_place(struct listing *w)
{
	struct str bucket, prefix;

	manifest_place(w->manifest, &bucket, &prefix);
	free(w->ch->bucket);
	free(w->ch->prefix);
	w->ch->bucket = str_dup(bucket);
	w->ch->prefix = str_dup(prefix);
}

static int read_manifest(struct listing *w, const json_t *attribute_names, struct err *e)
{
	const char *names[MANIFEST_ATTRIBUTES_MAX];
	struct manifest_options o = { .uri = w->ch->s3_uri, .attributes = names, .unit = write_unit, .arg = w };
	_cleanup_buf_ struct buf scratch = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct blob_entry found;
	struct err why = { 0 };
	int rc;

	for (size_t i = 0; i < json_array_size(attribute_names); i++)
		names[o.attribute_count++] = json_string_value(json_array_get(attribute_names, i));
	if (blob_find(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), &scratch, &found, &fd, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return err_set(
			        e, ERR_CLIENT,
			        "Data download failed:The manifest %s is there no more. It was deleted after the "
			        "job was created; upload it and create the job again",
			        w->ch->s3_uri);
		if (e)
			*e = why;
		return -1;
	}
	w->manifest = manifest_new(&o);
	rc = feed_file(w->manifest, fd, e);
	if (rc == 0 && is_type(w->ch, "ManifestFile"))
		take_place(w);
	manifest_free(take_ptr(w->manifest));
	for (size_t i = 0; i < ARRAY_LEN(w->scratch); i++)
		buf_fini(&w->scratch[i]);
	return rc;
}

static int list_embedded(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch, struct err *e)
{
	struct listing w = { .lists = l, .ch = ch, .f = fdopen(fd, "w") };
	int rc;

	must(w.f);
	rc = is_type(ch, "S3Prefix")   ? list_prefix(&w, e)
	     : is_type(ch, "S3Object") ? list_object(&w, e)
	                               : read_manifest(&w, json_object_get(s3, "AttributeNames"), e);
	if (rc == 0 && (fflush(w.f) != 0 || fsync(fd) < 0))
		rc = err_sys(e, "writing the list of its objects");
	if (fclose(w.f) != 0 && rc == 0)
		rc = err_sys(e, "writing the list of its objects");
	ch->objects = w.objects;
	ch->bytes = w.bytes;
	return rc;
}

/* ---- of another S3 ---- */

/* Of a list of keys that begin with an object's, that object alone. */
static int keep_object(const struct lists *l, struct channel_spec *ch, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_free_ char *own = strf("%s.object", ch->list);
	struct list_entry entry;
	int fd = openat(l->dirfd, ch->list, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out, more, rc;
	FILE *f;

	if (fd < 0)
		return err_sys(e, "reading the list of its objects");
	if (list_open_fd(fd, &r, e) < 0)
		return -1;
	while ((more = list_next(r, &entry, e)) > 0)
		if (str_is(entry.key, ch->prefix))
			break;
	if (more <= 0)
		return more < 0 ? -1
		                : err_set(e, ERR_CLIENT,
		                          "Data download failed:%s is there no more; upload it and create "
		                          "the job again",
		                          ch->s3_uri);
	out = openat(l->dirfd, own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return err_sys(e, "making the list of its objects");
	f = fdopen(out, "w");
	must(f);
	ch->objects = 1;
	ch->bytes = entry.size;
	rc = list_write(f, &entry, e);
	if (rc == 0 && (fflush(f) != 0 || fsync(out) < 0 || renameat(l->dirfd, own, l->dirfd, ch->list) < 0))
		rc = err_sys(e, "writing the list of its objects");
	fclose(f);
	return rc;
}

static int list_remote(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch, struct err *e)
{
	struct remote_question q = { .verb = "list",
		                     .bucket = ch->bucket,
		                     .prefix = ch->prefix,
		                     .s3_data_type = is_type(ch, "S3Object") ? "S3Prefix" : ch->s3_data_type,
		                     .attribute_names = json_object_get(s3, "AttributeNames"),
		                     .list_fd = fd,
		                     .stop_fd = l->stop_fd };
	struct remote_answer a;

	if (remote_ask(l->remote, &q, &a, e) < 0)
		return -1;
	ch->objects = a.objects;
	ch->bytes = a.bytes;
	if (a.bucket && a.prefix) {
		free(ch->bucket);
		free(ch->prefix);
		ch->bucket = take_ptr(a.bucket);
		ch->prefix = take_ptr(a.prefix);
	}
	remote_answer_fini(&a);
	if (is_type(ch, "S3Object"))
		return keep_object(l, ch, e);
	return fsync(fd) < 0 ? err_sys(e, "writing the list of its objects") : 0;
}

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
		if (check_stop(l, e) < 0 || check_unit(l, who, ch, r, offsets[i], e) < 0)
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
		rc = list_embedded(l, fd, s3, ch, e);
	} else {
		rc = list_remote(l, fd, s3, ch, e);
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
