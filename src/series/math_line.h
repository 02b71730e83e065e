/* math_line.h - what math.c and its functions share; for math*.c alone. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/math.h"

/* Room for n points; ERR_INVALID when the request has made too many. */
int line_new(const struct math_env *env, size_t n, int64_t period, struct math_line *ret, struct err *e) must_check;
void line_add(struct math_line *l, int64_t t, double v); /* not what is not finite */
void line_name(struct math_line *l, const struct math_line *like);
int line_copy(const struct math_env *env, const struct math_line *l, struct math_line *ret, struct err *e) must_check;

/* a OP b; op is one of + - * / ^. Takes both. */
int math_binary(const struct math_env *env, char op, struct math_value *a, struct math_value *b, struct math_value *ret,
                struct err *e) must_check;
/* A function by its name; args are borrowed and may be changed. */
int math_call(const struct math_env *env, struct str name, struct math_value *args, size_t n, struct math_value *ret,
              struct err *e) must_check;
const char *math_kind_name(const struct math_value *v);
