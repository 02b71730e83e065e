/* The job's own layer of the container's root: /opt/ml with its config files (contract 1.1, 1.2), and the few files of
 * /etc that name the host. It is a lower layer, so whatever the container does to it changes only its volume.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/seal.h"
#include "run/config_files.h"
#include "run/network.h"
#include "run/phase.h"

enum { ETC_FILE_MAX = 1 << 20 };

/* clang-format off */
static const char *const directories[] = {
	"opt/ml/input/config", "opt/ml/input/data", "opt/ml/model", "opt/ml/output/data",
	"opt/ml/output/metrics/sagemaker", "opt/ml/output/profiler", "etc", "tmp",
};
/* clang-format on */

/* Fields of a line of /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask ... */
static bool default_route(struct str line, struct str *ret_name)
{
	struct str name = str_trim(str_cut(&line, '\t')), destination = str_cut(&line, '\t'), flags, mask;
	unsigned long bits;
	char *text;

	str_cut(&line, '\t');
	flags = str_cut(&line, '\t');
	for (int i = 0; i < 3; i++)
		str_cut(&line, '\t');
	mask = str_cut(&line, '\t');
	text = str_dup(flags);
	bits = strtoul(text, NULL, 16);
	free(text);
	*ret_name = name;
	return name.n && str_is(destination, "00000000") && str_is(mask, "00000000") && (bits & 1);
}

char *layout_interface(struct str routes)
{
	struct str name;

	while (routes.n)
		if (default_route(str_cut(&routes, '\n'), &name))
			return str_dup(name);
	return xstrdup("lo");
}

/* The one that has the address; NULL: none. */
static char *interface_of(const char *address)
{
	struct ifaddrs *all = NULL;
	struct in_addr want;
	char *name = NULL;

	if (inet_pton(AF_INET, address, &want) != 1 || getifaddrs(&all) < 0)
		return NULL;
	for (const struct ifaddrs *i = all; i && !name; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
		    ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr == want.s_addr)
			name = xstrdup(i->ifa_name);
	freeifaddrs(all);
	return name;
}

static char *find_interface(const struct job_spec *spec, bool isolated)
{
	struct buf routes = { 0 };
	char *name;

	if (spec->network.bridge)
		return xstrdup(spec->network.private_key ? NET_SEAL_INTERFACE : "eth0");
	if (isolated)
		return xstrdup("lo");
	name = spec->network.peer_count ? interface_of(spec->network.address) : NULL;
	if (name)
		return name;
	if (file_read("/proc/net/route", ETC_FILE_MAX, &routes, NULL) < 0)
		buf_reset(&routes);
	name = layout_interface(buf_view(&routes));
	buf_fini(&routes);
	return name;
}

/* A directory that the request names, made in the tree; "/state" -> "state". */
static int make_named(int tree_fd, const char *what, const char *path, struct err *e)
{
	struct str rest = str_of(path), piece;
	struct buf rel = { 0 };
	int r = 0;

	while (rest.n && r == 0) {
		piece = str_cut(&rest, '/');
		if (str_is(piece, ".."))
			r = err_set(e, ERR_CLIENT, "%s %s: \"..\" cannot be part of it", what, path);
		else if (piece.n && !str_is(piece, "."))
			buf_f(&rel, "%s" PRIstr, rel.n ? "/" : "", ARGstr(piece));
	}
	if (r == 0 && rel.n && mkdir_all(tree_fd, rel.p, 0755, e) < 0) {
		e->kind = ERR_CLIENT;
		r = err_in(e, "%s %s cannot be a directory in the container", what, path);
	}
	buf_fini(&rel);
	return r;
}

/* The key part of an s3:// URI. */
static struct str uri_key(struct str uri)
{
	if (str_skip(&uri, STR("s3://")))
		str_cut(&uri, '/');
	return uri;
}

static int make_checkpoints(int tree_fd, const json_t *request, struct err *e)
{
	const char *path = config_checkpoint_path(request);
	const char *uri = json_string_value(json_object_get(json_object_get(request, "CheckpointConfig"), "S3Uri"));
	struct buf manifest = { 0 };
	int r;

	if (!path)
		return 0;
	if (make_named(tree_fd, "CheckpointConfig.LocalPath", path, e) < 0)
		return -1;
	buf_str(&manifest, uri_key(str_of(uri)));
	buf_c(&manifest, '\n');
	r = file_put(tree_fd, "opt/ml/input/data/checkpoints-manifest", buf_view(&manifest), 0644, e);
	buf_fini(&manifest);
	return r;
}

static int make_config_files(int tree_fd, const struct config_input *in, struct err *e)
{
	_cleanup_close_ int fd = open_beneath(tree_fd, "opt/ml/input/config", O_RDONLY | O_DIRECTORY, 0, e);
	struct buf bytes = { 0 };
	int r = fd < 0 ? -1 : 0;

	for (size_t i = 0; r == 0 && i < config_file_count; i++) {
		buf_reset(&bytes);
		if (config_files[i].write(in, &bytes))
			r = file_put(fd, config_files[i].name, buf_view(&bytes), 0644, e);
	}
	/* Slides and samples spell it with a capital, the toolkits do not. */
	if (r == 0 && linkat(fd, "resourceconfig.json", fd, "resourceConfig.json", 0) < 0)
		r = err_sys(e, "linking resourceConfig.json");
	buf_fini(&bytes);
	return r;
}

/* The machine's own file where the container shares its network; then names there mean the same in the container. */
static void add_machines(const char *path, bool isolated, struct buf *out)
{
	size_t before = out->n;

	if (!isolated && file_read(path, ETC_FILE_MAX, out, NULL) < 0)
		out->n = before;
}

static int put_etc(int tree_fd, struct str hosts, struct str name, struct str resolv, struct err *e)
{
	return file_put(tree_fd, "etc/hosts", hosts, 0644, e) < 0 ||
	                       file_put(tree_fd, "etc/hostname", name, 0644, e) < 0 ||
	                       file_put(tree_fd, "etc/resolv.conf", resolv, 0644, e) < 0
	               ? -1
	               : 0;
}

static int make_etc(int tree_fd, const struct job_spec *spec, bool isolated, struct err *e)
{
	struct buf hosts = { 0 }, machines = { 0 }, resolv = { 0 }, name = { 0 };
	const struct network_spec *net = &spec->network;
	int r;

	buf_z(&hosts, "127.0.0.1\tlocalhost\n");
	if (!net->bridge && (isolated || !net->peer_count))
		buf_f(&hosts, "127.0.0.1\t%s\n", spec->host_name);
	for (size_t i = 0; (net->bridge || !isolated) && i < net->peer_count; i++) {
		char sealed[NET_ADDRESS_BYTES];

		net_address_text(net_seal_address((unsigned)i + 1), sealed);
		buf_f(&hosts, "%s\t%s\n", net->private_key ? sealed : net->peers[i].address, net->peers[i].name);
	}
	buf_z(&hosts, "::1\tlocalhost ip6-localhost ip6-loopback\n");
	add_machines("/etc/hosts", isolated || net->bridge, &hosts);
	add_machines("/etc/resolv.conf", isolated, &machines);
	if (net->bridge)
		free(network_resolv(buf_view(&machines), net, &resolv));
	else
		buf_str(&resolv, buf_view(&machines));
	buf_f(&name, "%s\n", spec->host_name);
	r = put_etc(tree_fd, buf_view(&hosts), buf_view(&name), buf_view(&resolv), e);
	buf_fini(&hosts);
	buf_fini(&machines);
	buf_fini(&resolv);
	buf_fini(&name);
	return r;
}

/* The image's own directory does not show through. */
static int hide_images(int tree_fd, const char *path, struct err *e)
{
	_cleanup_close_ int fd = open_beneath(tree_fd, path, O_RDONLY | O_DIRECTORY, 0, e);

	if (fd < 0)
		return -1;
	if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return err_sys(e,
		               "marking /%s opaque (the data directory must be on a file system with trusted "
		               "extended attributes, such as ext4 or xfs)",
		               path);
	return 0;
}

int layout_tree(int tree_fd, const struct job_spec *spec, const char *network_interface, bool isolated, struct err *e)
{
	struct config_input in = { .spec = spec, .network_interface = network_interface };
	const char *tensorboard = config_tensorboard_path(spec->request);

	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		if (mkdir_all(tree_fd, directories[i], 0755, e) < 0)
			return -1;
	if (fchmodat(tree_fd, "tmp", 01777, 0) < 0)
		return err_sys(e, "making /tmp");
	if (tensorboard && make_named(tree_fd, "TensorBoardOutputConfig.LocalPath", tensorboard, e) < 0)
		return -1;
	if (make_checkpoints(tree_fd, spec->request, e) < 0 || make_config_files(tree_fd, &in, e) < 0)
		return -1;
	return make_etc(tree_fd, spec, isolated, e);
}

enum step phase_layout(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;

	r->network_interface = find_interface(&r->spec, r->isolated);
	if (mkdirat(r->work_fd, "tree", 0755) < 0) {
		err_sys(e, "making work/tree");
		return STEP_FAIL;
	}
	fd = open_beneath(r->work_fd, "tree", O_RDONLY | O_DIRECTORY, 0, e);
	/* /opt/ml: hidden by the platform's, contract 1.1 */
	if (fd < 0 || layout_tree(fd, &r->spec, r->network_interface, r->isolated, e) < 0 ||
	    hide_images(fd, "opt/ml", e) < 0)
		return STEP_FAIL;
	return STEP_NEXT;
}

/* ---- of a transform job ---- */

static int make_serving_etc(int tree_fd, const struct box *b, struct err *e)
{
	const struct job_spec *spec = &b->run->spec;
	const struct network_spec *net = &spec->network;
	bool has_address = net->bridge && spec->host_number <= net->peer_count && b->run->box_count == 1;
	_cleanup_buf_ struct buf hosts = { 0 }, machines = { 0 }, resolv = { 0 }, name = { 0 };

	buf_f(&hosts, "127.0.0.1\tlocalhost\n%s\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	      has_address ? net->peers[spec->host_number - 1].address : "127.0.0.1", b->hostname);
	add_machines("/etc/resolv.conf", !net->bridge, &machines);
	free(network_resolv(buf_view(&machines), net, &resolv));
	buf_f(&name, "%s\n", b->hostname);
	return put_etc(tree_fd, buf_view(&hosts), buf_view(&name), buf_view(&resolv), e);
}

/* What the image has in /opt/ml stays there, but where the model is to be (contract 7.1). */
static int make_serving_tree(const struct box *b, struct err *e)
{
	_cleanup_free_ char *tree = box_path(b, "tree");
	_cleanup_close_ int fd = -EBADF;

	if (mkdir_all(b->run->work_fd, tree, 0755, e) < 0)
		return -1;
	fd = open_beneath(b->run->work_fd, tree, O_RDONLY | O_DIRECTORY, 0, e);
	if (fd < 0 || mkdir_all(fd, "opt/ml/model", 0755, e) < 0 || mkdir_all(fd, "etc", 0755, e) < 0 ||
	    mkdir_all(fd, "tmp", 0755, e) < 0)
		return -1;
	if (fchmodat(fd, "tmp", 01777, 0) < 0)
		return err_sys(e, "making /tmp");
	return make_serving_etc(fd, b, e);
}

int layout_hide_model(int model_fd, struct err *e)
{
	return hide_images(model_fd, ".", e);
}

enum step phase_serving_layout(struct run *r, struct err *e)
{
	for (size_t i = 0; i < r->box_count; i++)
		if (make_serving_tree(&r->box[i], e) < 0)
			return STEP_FAIL;
	return STEP_NEXT;
}
