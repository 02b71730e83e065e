/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/command_scan.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *text(const json_t *j, const char *member)
{
	const char *z = json_string_value(json_object_get(j, member));

	return z ? z : "";
}

static long long count(const json_t *j, const char *member)
{
	return (long long)json_integer_value(json_object_get(j, member));
}

static void print_findings(const json_t *list, unsigned most)
{
	unsigned low = 0;
	const json_t *f;
	size_t i;

	json_array_foreach (list, i, f) {
		bool is_low = !strcmp(text(f, "severity"), "low");

		if (is_low && most && low++ >= most)
			continue;
		printf("  %-7s %-15s %s%s%s\n", text(f, "severity"), text(f, "rule"), text(f, "path"),
		       *text(f, "path") ? ": " : "", text(f, "detail"));
	}
	if (most && low > most)
		printf("  and %u more of severity low; --json shows all\n", low - most);
}

void scan_print(const json_t *report, unsigned most)
{
	const json_t *packages = json_object_get(report, "packages"), *counts = json_object_get(report, "counts"), *s;
	size_t i;

	printf("%s (%s, %s)\n%s: %lld high, %lld medium, %lld low, in %lld files; %lld packages of %s\n",
	       text(report, "reference"), *text(report, "architecture") ? text(report, "architecture") : "no programs",
	       *text(json_object_get(report, "os"), "name") ? text(json_object_get(report, "os"), "name")
	                                                    : "no distribution",
	       json_is_true(json_object_get(report, "passed")) ? "passed" : "NOT passed", count(counts, "high"),
	       count(counts, "medium"), count(counts, "low"), count(report, "files"), count(packages, "count"),
	       text(packages, "manager"));
	json_array_foreach (json_object_get(report, "scanners"), i, s)
		printf("%s: %lld vulnerabilities%s%s\n", text(s, "name"), count(s, "found"),
		       *text(s, "error") ? "; " : "", text(s, "error"));
	print_findings(json_object_get(report, "findings"), most);
}
