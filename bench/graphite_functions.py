"""The other side of bench.functions: runs under an interpreter that has graphite-web 1.1.10, and imports nothing else.

Reads a question as JSON from its standard input and prints as its last line {function: CPU milliseconds or an error}.
graphite-web's fetch is replaced by one that hands out the given arrays; its time, and that of freeing them, is taken
out.
"""

import array
import json
import sys
import time
import types
from datetime import datetime, timezone
from pathlib import Path

UTC = timezone.utc  # noqa: UP017  # Python 3.8 has no other
PATIENCE = 20.0
"""CPU seconds of all runs of a function after which no other is begun."""


def main() -> None:
    question = json.load(sys.stdin)
    _set_up(question["directory"])
    from graphite.render import evaluator  # noqa: PLC0415  # only after the settings are there
    from graphite.render.datalib import TimeSeries  # noqa: PLC0415

    values = array.array("d", Path(question["values"]).read_bytes())
    points, step = question["points"], question["step"]
    lists = [
        [None if value != value else value for value in values[row * points : (row + 1) * points]]  # noqa: PLR0124
        for row in range(question["series"])
    ]
    spent = [0.0]
    kept = []

    def fetch(context: dict, pattern: str) -> list:
        since = time.process_time()
        start, until = int(context["startTime"].timestamp()), int(context["endTime"].timestamp())
        first, last = start - start % step + step, until - until % step + step
        turns = (last - first) // step // points + 2
        skip = first // step % points
        count = (last - first) // step
        found = []
        for row in question["rows"].get(pattern, ()):
            name = question["paths"][row]
            cut = (lists[row] * turns)[skip : skip + count]
            found.append(TimeSeries(name, first, last, step, cut, pathExpression=pattern))
        # So that it is freed when the time has been taken.
        kept.append(list(found))
        spent[0] += time.process_time() - since
        return found

    evaluator.fetchData = fetch
    evaluator.prefetchData = lambda *_: None
    out = {}
    for name, target in question["targets"].items():
        out[name] = _measure(evaluator.evaluateTarget, target, question, spent, kept)
    print(json.dumps(out))


def _set_up(directory: str) -> None:
    settings = types.ModuleType("bench_settings")
    settings.SECRET_KEY = "bench"
    settings.STORAGE_DIR = settings.CONF_DIR = settings.LOG_DIR = settings.WHISPER_DIR = directory
    settings.STANDARD_DIRS = []
    settings.TIME_ZONE = "UTC"
    sys.modules["bench_settings"] = settings
    import os  # noqa: PLC0415

    os.environ.update(GRAPHITE_SETTINGS_MODULE="bench_settings", DJANGO_SETTINGS_MODULE="graphite.settings")
    import django  # noqa: PLC0415

    django.setup()


def _measure(evaluate, target: str, question: dict, spent: list, kept: list):
    now = question["now"]
    best = None
    began = time.process_time()
    while best is None or time.process_time() - began < PATIENCE / 20:
        context = {
            "startTime": datetime.fromtimestamp(now - question["points"] * question["step"], UTC),
            "endTime": datetime.fromtimestamp(now, UTC),
            "now": datetime.fromtimestamp(now, UTC),
            "tzinfo": UTC,
            "data": [],
            "prefetched": {},
            "localOnly": True,
            "template": {},
            "maxDataPoints": None,
            "xFilesFactor": 0,
            "targets": [target],
            "sourceIdHeaders": {},
        }
        spent[0] = 0.0
        since = time.process_time()
        try:
            evaluate(context, target)
        except Exception as error:  # it crashes where it does: that is no figure
            return f"{type(error).__name__}: {error}"
        taken = (time.process_time() - since - spent[0]) * 1e3
        best = taken if best is None else min(best, taken)
        kept.clear()
    return best


main()
