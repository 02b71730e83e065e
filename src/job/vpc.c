/* SPDX-License-Identifier: Apache-2.0 */
#include "job/vpc.h"

#include <stdlib.h>

#include "net/limits.h"

struct vpc {
	const struct conf *conf;
};

static struct str text_of(const json_t *v)
{
	return (struct str){ json_string_value(v), json_string_length(v) };
}

/* The text of a subnet's network. `nat` needs not be said: it is what jobs without a VpcConfig have. */
static const char *subnet_text(const struct conf *conf, const struct conf_named *subnet)
{
	const struct conf_named *network = conf_named(conf, CONF_NETWORK, str_of(subnet->value));

	return network ? network->value : strcmp(subnet->value, "nat") == 0 ? "nat" : NULL;
}

static int check_line(const struct conf *conf, const struct conf_named *c, struct err *e)
{
	struct net_limits l = { 0 };
	int rc = 0;

	if (c->kind == CONF_NETWORK)
		rc = net_limits_subnet(&l, str_of(c->value), e);
	else if (c->kind == CONF_SECURITY_GROUP)
		rc = net_limits_traffic(&l, str_of(c->value), e);
	else if (!subnet_text(conf, c))
		rc = err_set(e, ERR_INVALID, "there is no network.%s, and it is not `nat`", c->value);
	net_limits_fini(&l);
	return rc < 0 ? err_in(e, "%s: %s%s", c->where, conf_named_key[c->kind], c->id) : 0;
}

int vpc_new(const struct conf *conf, struct vpc **ret, struct err *e)
{
	for (size_t i = 0; i < conf->named_count; i++)
		if (check_line(conf, &conf->named[i], e) < 0)
			return -1;
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->conf = conf;
	return 0;
}

void vpc_free(struct vpc *v)
{
	free(v);
}

bool vpc_is_empty(const struct vpc *v)
{
	for (size_t i = 0; i < v->conf->named_count; i++)
		if (v->conf->named[i].kind != CONF_NETWORK)
			return false;
	return true;
}

static size_t put_unknown(const struct vpc *v, enum conf_kind kind, const json_t *ids, struct buf *out)
{
	size_t i, n = 0;
	json_t *id;

	json_array_foreach (ids, i, id) {
		if (conf_named(v->conf, kind, text_of(id)))
			continue;
		buf_f(out, "%s%s", out->n ? ", " : "",
		      kind == CONF_SUBNET ? "the subnet ID '" : "the security group '");
		buf_f(out, PRIstr "'", ARGstr(text_of(id)));
		n++;
	}
	return n;
}

static char *traffic_of(const struct vpc *v, const json_t *groups)
{
	struct buf traffic = { 0 };
	const json_t *id;
	size_t i;

	json_array_foreach (groups, i, id) {
		const struct conf_named *g = conf_named(v->conf, CONF_SECURITY_GROUP, text_of(id));

		if (g && *g->value)
			buf_f(&traffic, "%s%s", traffic.n ? ", " : "", g->value);
	}
	return traffic.n ? buf_take(&traffic) : xstrdup("");
}

/* Each group is fine by itself. */
static int check_together(const struct vpc *v, const json_t *groups, struct err *e)
{
	_cleanup_free_ char *traffic = traffic_of(v, groups);
	struct net_limits l = { 0 };
	int rc = net_limits_traffic(&l, str_of(traffic), e);

	net_limits_fini(&l);
	return rc < 0 ? err_in(e, "VpcConfig: what bloomery.conf says of the security groups, together") : 0;
}

int vpc_check(const struct vpc *v, const json_t *vpc_config, struct err *e)
{
	_cleanup_buf_ struct buf missing = { 0 };
	size_t n = put_unknown(v, CONF_SUBNET, json_object_get(vpc_config, "Subnets"), &missing);

	n += put_unknown(v, CONF_SECURITY_GROUP, json_object_get(vpc_config, "SecurityGroupIds"), &missing);
	if (!n)
		return check_together(v, json_object_get(vpc_config, "SecurityGroupIds"), e);
	return err_set(e, ERR_INVALID,
	               "VpcConfig: " PRIstr " %s not exist. Say in bloomery.conf what each stands for here, as "
	               "`subnet.ID = NETWORK` or `security_group.ID = RULES`, and start the server again",
	               ARGstr(buf_view(&missing)), n > 1 ? "do" : "does");
}

void vpc_fill(const struct vpc *v, const json_t *vpc_config, struct network_spec *n)
{
	const struct conf_named *subnet = conf_named(
	        v->conf, CONF_SUBNET, text_of(json_array_get(json_object_get(vpc_config, "Subnets"), 0)));
	const char *way = subnet ? subnet_text(v->conf, subnet) : NULL;

	free(n->subnet);
	free(n->traffic);
	n->subnet = xstrdup(way ? way : "none");
	n->traffic = traffic_of(v, json_object_get(vpc_config, "SecurityGroupIds"));
}
