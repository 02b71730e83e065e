/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/tree.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "channel/channel.h"
#include "jobdir/list.h"

enum { NODES_MAX = 1 << 30, NAME_MAX_BYTES = 255 };

/* 32 bytes, as there may be millions. */
struct node {
	union {
		struct {
			uint64_t record; /* where it is in the list's file */
			uint64_t size;
		} file;
		struct {
			uint32_t first, entries; /* a run of tree.entries */
			uint32_t subdirs;
		} dir;
	};
	int64_t modified_ms;
	uint32_t name; /* where it is in tree.names: a byte with its length, and its bytes */
	uint32_t parent : 31, is_dir : 1;
};

struct tree {
	struct node *nodes;
	uint32_t count, cap;
	char *names;
	size_t names_n, names_cap;
	uint32_t *slots; /* open addressing; node numbers + 1, 0 is free */
	uint32_t slot_mask;
	uint64_t seed;     /* so that nobody can choose names that collide */
	uint32_t *entries; /* of all directories, one after the other */
	uint64_t objects, bytes;

	pthread_mutex_t mu;       /* hold it to use list */
	struct list_reader *list; /* for tree_object() */
};

/* One tree_new() at work. */
struct planting {
	struct tree *t;
	const struct feeder_order *o;
	uint32_t dir; /* of the object before; keys come sorted, so it mostly is that of the next one too */
	struct buf dir_path;
	uint64_t *record;     /* where each unit is */
	unsigned char *share; /* a bit a unit: whether it is this host's */
	uint32_t count;
};

/* ---- names ---- */

static struct str name_at(const struct tree *t, uint32_t at)
{
	return (struct str){ t->names + at + 1, (unsigned char)t->names[at] };
}

struct str tree_name(const struct tree *t, uint32_t node)
{
	return name_at(t, t->nodes[node].name);
}

static uint32_t hash_of(const struct tree *t, uint32_t parent, struct str name)
{
	uint64_t h = t->seed ^ ((uint64_t)parent << 8 | name.n) * 0x9e3779b97f4a7c15, word;

	while (name.n) {
		size_t n = name.n < sizeof(word) ? name.n : sizeof(word);

		word = 0;
		memcpy(&word, name.p, n);
		h = (h ^ word) * 0xff51afd7ed558ccd;
		h ^= h >> 32;
		name.p += n;
		name.n -= n;
	}
	h *= 0xc4ceb9fe1a85ec53;
	return (uint32_t)(h >> 32);
}

/* Where the node is, or the free slot where it would be. */
static uint32_t *slot_of(const struct tree *t, uint32_t parent, struct str name)
{
	uint32_t i = hash_of(t, parent, name) & t->slot_mask;

	for (;; i = (i + 1) & t->slot_mask) {
		const struct node *n;

		if (!t->slots[i])
			return &t->slots[i];
		n = &t->nodes[t->slots[i] - 1];
		if (n->parent == parent && str_eq(name_at(t, n->name), name))
			return &t->slots[i];
	}
}

uint32_t tree_lookup(const struct tree *t, uint32_t parent, struct str name)
{
	return parent < t->count && name.n ? *slot_of(t, parent, name) - 1 : TREE_NONE;
}

/* Twice as many slots. The root is in none. */
static void grow_slots(struct tree *t)
{
	uint32_t slots = t->slots ? (t->slot_mask + 1) * 2 : 1024;

	free(t->slots);
	t->slots = xcalloc(slots, sizeof(*t->slots));
	t->slot_mask = slots - 1;
	for (uint32_t i = 1; i < t->count; i++)
		*slot_of(t, t->nodes[i].parent, tree_name(t, i)) = i + 1;
}

static int add_name(struct tree *t, struct str name, uint32_t *ret, struct err *e)
{
	if (t->names_n + 1 + name.n > UINT32_MAX)
		return err_set(e, ERR_LIMIT, "the names of the channel's objects take more than 4 GiB");
	if (t->names_n + 1 + name.n > t->names_cap) {
		t->names_cap = t->names_cap ? t->names_cap * 2 : 4096;
		t->names = xrealloc(t->names, t->names_cap);
	}
	*ret = (uint32_t)t->names_n;
	t->names[t->names_n++] = (char)name.n;
	memcpy(t->names + t->names_n, name.p, name.n);
	t->names_n += name.n;
	return 0;
}

/* A node that is not there yet. */
static int add_node(struct tree *t, uint32_t parent, struct str name, bool is_dir, uint32_t *ret, struct err *e)
{
	struct node n = { .parent = parent & INT32_MAX, .is_dir = is_dir };

	must(name.n <= NAME_MAX_BYTES);
	if (t->count == NODES_MAX)
		return err_set(e, ERR_LIMIT, "the channel has more than %d files and directories", NODES_MAX);
	if (add_name(t, name, &n.name, e) < 0)
		return -1;
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 256;
		t->nodes = xrealloc(t->nodes, t->cap * sizeof(*t->nodes));
	}
	if (!t->slots || t->count >= t->slot_mask / 4 * 3)
		grow_slots(t);
	t->nodes[t->count] = n;
	if (t->count) {
		*slot_of(t, parent, name) = t->count + 1;
		if (is_dir)
			t->nodes[parent].dir.subdirs++;
	}
	*ret = t->count++;
	return 0;
}

/* ---- keys that cannot both be ---- */

/* Something was in the way of key: looks through the list for what, to name both. */
static int name_both(const struct planting *p, struct str in_the_way, struct err *e)
{
	_cleanup_free_ char *copy = str_dup(in_the_way); /* the reader's next unit goes where it is */
	const struct feeder_order *o = p->o;
	struct str prefix = str_of(o->prefix), key = str_of(copy), path = key, other;
	struct list_part part;
	bool is_dir = false, other_dir = false;
	size_t parts;

	if (channel_rel_path(prefix, key, &path, &is_dir, e) < 0)
		return -1;
	for (uint32_t i = 0; i < p->count; i++) {
		struct str mine;
		bool first;

		if (!(p->share[i / 8] & 1U << i % 8))
			continue;
		if (list_unit(p->t->list, p->record[i], &parts, NULL) < 0 || list_part(p->t->list, &part, NULL) < 0)
			break;
		mine = part.object.key;
		first = str_cmp(mine, key) < 0;
		if (str_eq(mine, key) || channel_rel_path(prefix, mine, &other, &other_dir, NULL) < 0 ||
		    !channel_collide(path, is_dir, other, other_dir))
			continue;
		return err_set(e, ERR_CLIENT,
		               "Data download failed:Failed to download data. S3 keys s3://%s/" PRIstr
		               " and s3://%s/" PRIstr
		               " are in each other's way in the channel's directory: a name cannot be two files, nor a "
		               "file and a directory. Rename one of the objects, or use a narrower prefix",
		               o->bucket, ARGstr(first ? mine : key), o->bucket, ARGstr(first ? key : mine));
	}
	return err_set(e, ERR_IO,
	               "Data download failed:Unable to download object s3://%s/" PRIstr ": its name is taken",
	               o->bucket, ARGstr(key));
}

/* ---- planting ---- */

/* The directory at path, made with those above it. 1: a file is in the way. */
static int plant_dir(struct planting *p, struct str path, uint32_t *ret, struct err *e)
{
	struct tree *t = p->t;
	struct str rest = path;
	uint32_t at = TREE_ROOT;

	if (str_eq(path, buf_view(&p->dir_path))) {
		*ret = p->dir;
		return 0;
	}
	while (rest.n) {
		struct str piece = str_cut(&rest, '/');
		uint32_t next = tree_lookup(t, at, piece);

		if (next == TREE_NONE && add_node(t, at, piece, true, &next, e) < 0)
			return -1;
		if (!t->nodes[next].is_dir)
			return 1;
		at = next;
	}
	buf_reset(&p->dir_path);
	buf_str(&p->dir_path, path);
	*ret = p->dir = at;
	return 0;
}

/* 1: something is in the way. */
static int plant_file(struct planting *p, struct str path, const struct list_entry *object, uint64_t record,
                      struct err *e)
{
	struct tree *t = p->t;
	struct str dir = path, leaf = str_cut_last(&dir, '/');
	uint32_t parent = TREE_ROOT, node;
	int rc = plant_dir(p, dir, &parent, e);

	if (rc)
		return rc;
	if (tree_lookup(t, parent, leaf) != TREE_NONE)
		return 1;
	if (add_node(t, parent, leaf, false, &node, e) < 0)
		return -1;
	t->nodes[node].file.record = record;
	t->nodes[node].file.size = object->size;
	t->nodes[node].modified_ms = object->modified.ms;
	return 0;
}

static int plant(struct planting *p, const struct list_entry *object, uint64_t record, struct err *e)
{
	bool remote = str_is(object->object_id, "-"), is_dir;
	struct err why = { 0 };
	struct str path;
	uint32_t dir;
	int rc;

	if (remote != (p->o->place == PLACE_REMOTE) || object->size > INT64_MAX)
		return err_set(e, ERR_SYNTAX, "the channel's list has an object that is not of its store");
	if (channel_rel_path(str_of(p->o->prefix), object->key, &path, &is_dir, &why) < 0)
		return channel_bad_key(p->o->bucket, object->key, &why, e);
	rc = is_dir ? plant_dir(p, path, &dir, e) : plant_file(p, path, object, record, e);
	if (rc > 0)
		return name_both(p, object->key, e);
	if (is_dir && rc == 0 && p->t->nodes[dir].modified_ms < object->modified.ms)
		p->t->nodes[dir].modified_ms = object->modified.ms;
	p->t->objects++;
	p->t->bytes += object->size;
	return rc;
}

/* Which units are this host's: a bit each. */
static unsigned char *share_of(const struct unit_order *o, uint32_t count)
{
	_cleanup_free_ uint32_t *v = xcalloc((size_t)count + 1, sizeof(*v));
	unsigned char *share = xcalloc(count / 8 + 1, 1);
	uint32_t n = unit_order(o, 0, count, v);

	for (uint32_t i = 0; i < n; i++)
		share[v[i] / 8] |= (unsigned char)(1U << v[i] % 8);
	return share;
}

static int plant_all(struct planting *p, struct err *e)
{
	struct list_reader *list = p->t->list;
	struct list_part part;
	uint64_t count;
	size_t parts;

	if (list_index(list, &p->record, &count, e) < 0)
		return -1;
	if (count > NODES_MAX)
		return err_set(e, ERR_LIMIT, "the channel has more than %d objects", NODES_MAX);
	p->count = (uint32_t)count;
	p->share = share_of(&p->o->order, p->count);
	for (uint32_t i = 0; i < p->count; i++) {
		if (!(p->share[i / 8] & 1U << i % 8))
			continue;
		if (list_unit(list, p->record[i], &parts, e) < 0 || list_part(list, &part, e) < 0)
			return -1;
		if (parts != 1 || part.literal || part.object.bucket.n)
			return err_set(e, ERR_SYNTAX, "the channel's list has lines, not objects");
		if (plant(p, &part.object, p->record[i], e) < 0)
			return -1;
	}
	return 0;
}

/* ---- directories' entries ---- */

/* Counts, makes a place for each directory's entries, and puts them there in the order of the nodes. A directory is as
 * new as the newest below it; nodes come after their parents, so from the last to the first. */
static void gather(struct tree *t)
{
	uint32_t at = 0;

	for (uint32_t i = t->count; i-- > 1;) {
		struct node *parent = &t->nodes[t->nodes[i].parent];

		parent->dir.entries++;
		if (parent->modified_ms < t->nodes[i].modified_ms)
			parent->modified_ms = t->nodes[i].modified_ms;
	}
	t->entries = xcalloc(t->count, sizeof(*t->entries));
	for (uint32_t i = 0; i < t->count; i++) {
		struct node *n = &t->nodes[i];

		if (!n->is_dir)
			continue;
		n->dir.first = at;
		at += n->dir.entries;
		n->dir.entries = 0;
	}
	for (uint32_t i = 1; i < t->count; i++) {
		struct node *parent = &t->nodes[t->nodes[i].parent];

		t->entries[parent->dir.first + parent->dir.entries++] = i;
	}
}

int tree_new(const struct feeder_order *o, struct tree **ret, struct err *e)
{
	_cleanup_(tree_freep) struct tree *t = xcalloc(1, sizeof(*t));
	struct planting p = { .t = t, .o = o };
	int fd = fcntl(o->list_fd, F_DUPFD_CLOEXEC, 3), rc;
	uint32_t root;

	pthread_mutex_init(&t->mu, NULL);
	random_bytes(&t->seed, sizeof(t->seed));
	if (fd < 0)
		return err_sys(e, "the channel's list");
	if (list_open_fd(fd, &t->list, e) < 0 || add_node(t, 0, STR(""), true, &root, e) < 0)
		return -1;
	rc = plant_all(&p, e);
	buf_fini(&p.dir_path);
	free(p.record);
	free(p.share);
	if (rc < 0)
		return -1;
	gather(t);
	*ret = take_ptr(t);
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	list_close(t->list);
	pthread_mutex_destroy(&t->mu);
	free(t->nodes);
	free(t->names);
	free(t->slots);
	free(t->entries);
	free(t);
}

/* ---- questions ---- */

bool tree_stat(const struct tree *t, uint32_t node, struct tree_stat *ret)
{
	const struct node *n;

	if (node >= t->count)
		return false;
	n = &t->nodes[node];
	*ret = (struct tree_stat){ .dir = n->is_dir, .modified = { n->modified_ms }, .parent = n->parent };
	if (n->is_dir) {
		ret->entries = n->dir.entries;
		ret->subdirs = n->dir.subdirs;
	} else {
		ret->size = n->file.size;
	}
	return true;
}

uint32_t tree_entry(const struct tree *t, uint32_t dir, uint32_t i)
{
	return t->entries[t->nodes[dir].dir.first + i];
}

int tree_object(struct tree *t, uint32_t file, struct tree_object *ret, struct err *e)
{
	const struct node *n = &t->nodes[file];
	struct list_part part;
	size_t parts;
	int rc = -1;

	pthread_mutex_lock(&t->mu);
	if (list_unit(t->list, n->file.record, &parts, e) == 0 && list_part(t->list, &part, e) == 0) {
		if (parts != 1 || part.literal || part.object.size != n->file.size ||
		    part.object.object_id.n >= sizeof(ret->id) || part.object.etag.n >= sizeof(ret->etag)) {
			err_set(e, ERR_SYNTAX, "the channel's list has changed");
		} else {
			memcpy(ret->id, part.object.object_id.p, part.object.object_id.n);
			ret->id[part.object.object_id.n] = 0;
			memcpy(ret->etag, part.object.etag.p, part.object.etag.n);
			ret->etag[part.object.etag.n] = 0;
			memcpy(ret->key, part.object.key.p, part.object.key.n);
			ret->key[part.object.key.n] = 0;
			rc = 0;
		}
	}
	pthread_mutex_unlock(&t->mu);
	return rc;
}

uint32_t tree_nodes(const struct tree *t)
{
	return t->count;
}

uint64_t tree_objects(const struct tree *t)
{
	return t->objects;
}

uint64_t tree_bytes(const struct tree *t)
{
	return t->bytes;
}
