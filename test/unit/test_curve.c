/* Curves of few points out of many values. SPDX-License-Identifier: Apache-2.0 */
#include "op/curve.h"

#include "harness.h"

static json_t *curve_of(size_t wanted, int64_t n)
{
	struct curve c = { .wanted = wanted };
	json_t *j;

	for (int64_t i = 0; i < n; i++)
		curve_add(&c, (struct wall){ 1000 + i * 10 }, i % 1000 == 500 ? 1e9 : (double)i);
	j = curve_to_json(&c);
	curve_fini(&c);
	return j;
}

static double number(const json_t *j, const char *member)
{
	return json_number_value(json_object_get(j, member));
}

TEST(few_values_are_all_points)
{
	json_t *j = curve_of(10, 20), *points = json_object_get(j, "Points");

	CHECK_INT(json_array_size(points), 20);
	for (size_t i = 0; i < 20; i++)
		CHECK(json_number_value(json_array_get(json_array_get(points, i), 3)) == (double)i);
	CHECK(number(j, "First") == 1.0 && number(j, "LastTime") == 1.19);
	json_decref(j);
}

TEST(many_values_keep_their_extremes_and_their_order)
{
	for (int64_t n = 21; n < 100000; n = n * 3 + 1) {
		json_t *j = curve_of(10, n), *points = json_object_get(j, "Points"), *p;
		double last = 0, high = 0;
		size_t i;

		CHECK(json_array_size(points) > 9 && json_array_size(points) <= 20);
		CHECK_INT(json_integer_value(json_object_get(j, "Count")), n);
		CHECK(number(j, "Max") == (n > 500 ? 1e9 : (double)n - 1));
		json_array_foreach (points, i, p) {
			double t = json_number_value(json_array_get(p, 0)),
			       max = json_number_value(json_array_get(p, 2));

			CHECK(t > last);
			CHECK(json_number_value(json_array_get(p, 1)) <= json_number_value(json_array_get(p, 3)) &&
			      json_number_value(json_array_get(p, 3)) <= max);
			last = t;
			high = max > high ? max : high;
		}
		CHECK(high == number(j, "Max"));
		json_decref(j);
	}
}

TEST(without_points_there_are_only_numbers)
{
	json_t *j = curve_of(0, 5);

	CHECK(!json_object_get(j, "Points"));
	CHECK(number(j, "Last") == 4 && number(j, "Min") == 0);
	json_decref(j);
}
