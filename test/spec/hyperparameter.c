/* hyperparameter NAME: prints the value of one hyperparameter of hyperparameters.json, unescaped. Part of the `busy`
 * test image, so that a test's trainer can be a shell script inside the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_utf8(unsigned c)
{
	if (c < 0x80) {
		putchar((int)c);
	} else if (c < 0x800) {
		putchar((int)(0xc0 | c >> 6));
		putchar((int)(0x80 | (c & 63)));
	} else {
		putchar((int)(0xe0 | c >> 12));
		putchar((int)(0x80 | (c >> 6 & 63)));
		putchar((int)(0x80 | (c & 63)));
	}
}

static void print_value(const char *p)
{
	for (; *p && *p != '"'; p++) {
		char hex[5] = "";

		if (*p != '\\') {
			putchar(*p);
			continue;
		}
		switch (*++p) {
		case 'n': putchar('\n'); break;
		case 't': putchar('\t'); break;
		case 'r': putchar('\r'); break;
		case 'b': putchar('\b'); break;
		case 'f': putchar('\f'); break;
		case 'u':
			memcpy(hex, p + 1, 4);
			put_utf8((unsigned)strtoul(hex, NULL, 16));
			p += 4;
			break;
		default: putchar(*p);
		}
	}
}

int main(int argc, char **argv)
{
	static char text[1 << 20];
	char key[300];
	FILE *f = fopen("/opt/ml/input/config/hyperparameters.json", "r");
	const char *at;

	if (argc != 2 || !f || fread(text, 1, sizeof(text) - 1, f) == 0)
		return 1;
	snprintf(key, sizeof(key), "\"%s\":\"", argv[1]);
	at = strstr(text, key);
	if (!at)
		return 2;
	print_value(at + strlen(key));
	return 0;
}
