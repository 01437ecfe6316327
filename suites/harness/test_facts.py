"""Facts of charts: each is read by somebody. One that nothing reads looks like knowledge and is none."""

import re

from holdfast.paths import ROOT
from holdfast.tree.releases import known_charts

CODE = "\n".join(p.read_text() for p in sorted((ROOT / "holdfast" / "tree").rglob("*.py")))


def keys(facts, above=""):
    """The keys of a chart's facts, each with those that it stands below."""
    for key, value in facts.items():
        yield key
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and key not in FREE:
                yield from keys(one)


FREE = {"labels", "default_class"}  # what stands below is a chart's own words


def read_by_code(key):
    return re.search(rf"[\"'](?:[\w.]+ )*{re.escape(key)}(?: [\w.]+)*[\"']", CODE) is not None


def test_every_fact_of_a_chart_is_read():
    unread = {(chart, key) for chart, facts in known_charts().items() for key in keys(facts) if not read_by_code(key)}
    assert unread == set()
    assert not read_by_code("makes_secrets")
