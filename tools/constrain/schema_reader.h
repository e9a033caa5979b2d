// SPDX-License-Identifier: MIT
// JSON schemas (draft 2020-12, as far as an automaton can keep them) as rules for JSON text.
#ifndef THIMBLE_TOOLS_CONSTRAIN_SCHEMA_READER_H
#define THIMBLE_TOOLS_CONSTRAIN_SCHEMA_READER_H

#include <string>

#include "constrain/syntax.h"
#include "value.h"

namespace thimble::tools {

// What is written meets the schema; it is narrower than the schema in three ways. Keys come in the
// schema's order, and only those that its properties name, unless it has none or says
// additionalProperties. A value has one spelling (json_syntax.h). References within themselves, and
// values that the schema leaves open, nest `depth` deep. Knows type, enum, const, anyOf, $ref
// within the file, properties, required, additionalProperties, items, prefixItems, minItems,
// maxItems, minLength, maxLength, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum,
// and passes over what only describes. Throws Refused, naming the place as a JSON pointer and the
// keyword.
Syntax read_schema(const Value& schema, const std::string& path, uint32_t depth);

}  // namespace thimble::tools

#endif
