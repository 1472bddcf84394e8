"""A registry from the records that are left of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ingestd.storage import registry
from ingestd.storage.fileformat import LogRecord, pack_log_record

STAND_IN: Final = ((60, 1440),)
"""Archives for a layout that is lost: a day of minutes. No file is kept by it, and the next start matches anew."""
STAND_IN_PROFILE: Final = ("average", 0.5)
"""Carbon's own defaults."""
UNMATCHED: Final = "unmatched"
"""No rules' fingerprint."""


class Mended(NamedTuple):
    """Records of a registry that :func:`ingestd.storage.registry.decode` takes without damage."""

    records: list[bytes]
    series: int
    lost: list[str]
    """What could not be rebuilt."""
    stand_ins: frozenset[int]
    """Layouts whose archives nobody knows any more."""
    unprofiled: bool
    """Whether nobody knows how some series roll up."""


def mend_registry(records: Sequence[LogRecord], top: int) -> Mended:
    """``records``: the valid ones, in order; ``top``: the highest id of a series that has points, -1 if none has."""
    layouts = {r.number: r for r in reversed(records) if r.kind == registry.LAYOUT}
    profiles = {r.number: r for r in reversed(records) if r.kind == registry.PROFILE}
    body, count, lost, gaps = _series(records, top)
    loaded = registry.decode([*records], ())
    used = [int(n) for n in (loaded.layout.max(initial=0), *(n for h in loaded.history.values() for n in h))]
    if count == 0:
        used = []
    stand_ins = sorted(set(range(max([-1, *used, *layouts]) + 1)) - set(layouts))
    highest = int(loaded.profile.max(initial=0)) if count else -1
    no_profile = sorted(set(range(max([highest, *profiles], default=-1) + 1)) - set(profiles))
    made = [
        _again(layouts[n]) if n in layouts else registry.encode_layout(n, STAND_IN)
        for n in range(len(layouts) + len(stand_ins))
    ]
    made += [
        _again(profiles[n]) if n in profiles else registry.encode_profile(n, *STAND_IN_PROFILE)
        for n in range(len(profiles) + len(no_profile))
    ]
    lost += [f"layout {n}: the next start gives its series one by the rules" for n in stand_ins]
    lost += [f"profile {n}: the next start gives its series one by the rules" for n in no_profile]
    rules = [r for r in records if r.kind == registry.RULES]
    body += [registry.encode_rules(UNMATCHED)] if stand_ins or no_profile else [_again(r) for r in rules[-1:]]
    return Mended([*made, *body], count - gaps, lost, frozenset(stand_ins), bool(no_profile))


def _series(records: Sequence[LogRecord], top: int) -> tuple[list[bytes], int, list[str], int]:
    """Records of series, with ids that belong to nobody where names are lost; how many ids; what is lost; how many."""
    body: list[bytes] = []
    lost: list[str] = []
    count = gaps = 0
    for record in records:
        if record.kind in (registry.CREATE, registry.SKIP):
            if record.number < count:
                continue
            if record.number > count:
                lost.append(_names(count, record.number - 1))
                gaps += record.number - count
                body.append(registry.encode_skip(count, record.number - count))
            count = record.number + record.n
        if record.kind in (registry.CREATE, registry.SKIP, registry.FORGET, registry.CHANGE):
            body.append(_again(record))
    if top >= count:
        lost.append(_names(count, top))
        gaps += top + 1 - count
        body.append(registry.encode_skip(count, top + 1 - count))
        count = top + 1
    return body, count, lost, gaps


def _names(first: int, last: int) -> str:
    return f"series {first} to {last} have lost their names; their points are kept and shown to nobody"


def _again(record: LogRecord) -> bytes:
    return pack_log_record(record.kind, record.n, record.number, [bytes(record.body)])
