#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Rules against independent matchers: check_rules.sh PEER [RULES [SUITE]]
# What random models write under RULES random rules (10 000) is what Python's re and jsonschema
# accept, and what these rules' own texts are is accepted; SUITE is a copy of JSON-Schema-Test-Suite.
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${1:?which program? make test-rules builds it}
python=
for each in python3 /usr/bin/python3; do
  if "$each" -c 'import jsonschema' 2>/dev/null; then python=$each; break; fi
done
if [ -z "$python" ]; then
  echo "check_rules: skipped: no python3 with jsonschema (Debian: python3-jsonschema)"
  exit 0
fi
exec "$python" tests/check_rules.py "$peer" "${2:-10000}" ${3:+"$3"}
