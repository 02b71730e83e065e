/* xml.h - reads the small XML documents of the rest-xml and query protocols. Pure, over expat.
 *
 * A document type declaration is refused, so there are no entities but XML's own five; depth, elements and text are
 * limited. Namespaces are not looked at; a prefix is cut from an element's name. Attributes are ignored.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { XML_DEPTH_MAX = 16, XML_TEXT_MAX = 1 << 20 };

/* Called at the end of each element, inner ones first: path "Delete/Object/Key", and the text directly in it. Both are
 * valid until it returns; -1 ends the reading. */
typedef int xml_element_fn(struct str path, struct str text, void *arg, struct err *e);

/* ERR_SYNTAX with line and reason when doc is not well-formed or beyond a limit, else what fn said. */
int xml_read(struct str doc, xml_element_fn *fn, void *arg, struct err *e) must_check;
