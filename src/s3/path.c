/* path.c - s3:// addresses and the rule from keys to paths. Pure.  SPDX-License-Identifier: Apache-2.0 */
#include "s3/s3.h"

int s3_uri_parse(struct str in, struct s3_uri *ret_uri, struct err *e)
{
	struct str rest = in, bucket;

	if (!str_skip(&rest, STR("s3://")))
		return err_set(e, ERR_INVALID, "'" PRIstr "' does not start with s3://", ARGstr(in));
	bucket = str_cut(&rest, '/');
	if (bucket.n < 3 || bucket.n > 63)
		return err_set(e, ERR_INVALID, "'" PRIstr "' is not a bucket name", ARGstr(bucket));
	*ret_uri = (struct s3_uri){ .bucket = bucket, .key = rest };
	return 0;
}

static int check_piece(struct str piece, struct str key, struct err *e)
{
	if (piece.n == 0)
		return err_set(e, ERR_CLIENT, "the key " PRIstr " has an illegal char sub-sequence '//' in it",
		               ARGstr(key));
	if (str_eq(piece, STR(".")) || str_eq(piece, STR("..")))
		return err_set(e, ERR_CLIENT, "the key " PRIstr " has the piece '" PRIstr "', which is no file name",
		               ARGstr(key), ARGstr(piece));
	if (piece.n > 255)
		return err_set(e, ERR_CLIENT,
		               "the key " PRIstr " has a piece of %zu bytes; a file name has at most 255", ARGstr(key),
		               piece.n);
	if (str_has_byte(piece, 0))
		return err_set(e, ERR_CLIENT, "the key " PRIstr " holds a NUL byte", ARGstr(key));
	return 0;
}

int s3_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e)
{
	struct str base = str_eq(prefix, key) && !str_ends(key, STR("/")) ? key : prefix, rel = key, rest;
	bool dir = str_ends(key, STR("/"));

	/* s3://b/data/train is the folder for data/train/x, as uploaders name it, and a mere prefix for
	 * data/training/x. */
	if (!(base.n < key.n && str_starts(key, base) && key.p[base.n] == '/'))
		while (base.n && base.p[base.n - 1] != '/')
			base.n--;
	if (!str_skip(&rel, base))
		return err_set(e, ERR_BUG, "the key " PRIstr " is not below " PRIstr, ARGstr(key), ARGstr(prefix));
	if (str_find(rel, STR("//")) >= 0)
		return check_piece(STR(""), key, e);
	str_skip(&rel, STR("/"));
	for (rest = rel; rest.n;)
		if (check_piece(str_cut(&rest, '/'), key, e) < 0)
			return -1;
	if (rel.n && dir)
		rel.n--;
	*ret_rel = rel;
	*ret_dir = dir;
	return 0;
}
