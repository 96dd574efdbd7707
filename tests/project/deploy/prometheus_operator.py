"""Validates manifests of the Prometheus operator against the operator's own definitions.

Reads a list of them as JSON, prints the result of each, and fails if one is invalid.
"""

import json
import sys

from cloudcoil.models.prometheus_operator import v1
from pydantic import ValidationError

faults = 0
for manifest in json.load(sys.stdin):
    kind = manifest["kind"]
    try:
        # An unknown field is an error: the API server would ignore it silently.
        getattr(v1, kind).model_validate(
            manifest, extra="forbid", by_alias=True, by_name=False
        )
        print(kind, "passed")
    except ValidationError as error:
        faults += 1
        print(error)
sys.exit(faults > 0)
