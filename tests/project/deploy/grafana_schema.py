"""Prints what Grafana's own types do not keep of a dashboard: unknown fields, and values of another type."""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# Of an annotation by Prometheus; the types have the fields of all data sources only.
UNTYPED = ".titleFormat"


def lost(was, now, path):
    if isinstance(was, dict) and isinstance(now, dict):
        for name, value in was.items():
            yield from lost(value, now.get(name), f"{path}.{name}")
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for at, (one, other) in enumerate(zip(was, now)):
            yield from lost(one, other, f"{path}[{at}]")
    elif was != now and not path.endswith(UNTYPED):
        yield f"{path}: {was!r} is read as {now!r}"


register_default_plugins()
dashboard = json.load(sys.stdin)
read = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
sys.exit("\n".join(lost(dashboard, read, "dashboard")) or None)
