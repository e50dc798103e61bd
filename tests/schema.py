#!/usr/bin/env python3
"""schema.py NAME: whether each line of standard input is what src/cli/schemas/NAME.json says.

Needs jsonschema (Debian: python3-jsonschema). Without a name: whether each schema is one itself.
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator

SCHEMAS = {
    path.name: json.loads(path.read_text())
    for path in (pathlib.Path(__file__).resolve().parent.parent / "src/cli/schemas").glob("*.json")
}


def validator(schema):
    try:
        from referencing import Registry, Resource
    except ImportError:
        # Older than 4.18.
        from jsonschema import RefResolver

        return Draft202012Validator(schema, resolver=RefResolver("", schema, store=SCHEMAS))
    resources = [(name, Resource.from_contents(other)) for name, other in SCHEMAS.items()]
    return Draft202012Validator(schema, registry=Registry().with_resources(resources))


def main(name):
    checker = validator(SCHEMAS[f"{name}.json"])
    lines = sys.stdin.read().splitlines()
    if not lines:
        sys.exit("nothing was printed")
    for line in lines:
        for error in checker.iter_errors(json.loads(line)):
            causes = [error, *(error.context or [])]
            sys.exit("\n".join(f"{cause.json_path}: {cause.message}"[:600] for cause in causes) + f"\nin {line}")


if len(sys.argv) > 1:
    main(sys.argv[1])
else:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
