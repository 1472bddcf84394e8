"""kill -9 at random moments, again and again on one data directory: nothing stored is lost, nothing is invented."""

import contextlib
import http.client
import os
import random
import time
from collections import Counter

import numpy as np
import pytest

from ingestd.storage.check import check

ARCHIVES = {
    "fast": ((1, 1200), (5, 1440), (60, 1440)),
    "slow": ((2, 1200), (20, 720), (120, 720)),
}
METHODS = {"average": 0.5, "sum": 0.0, "last": 0.2, "max": 0.1, "min": 0.9}
"""Aggregation methods and their xFilesFactor."""
AGES = {
    "live": {"fast": (-60, 500), "slow": (-60, 500)},
    "mid": {"fast": (2000, 6000), "slow": (3600, 6000)},
    "old": {"fast": (8000, 75000), "slow": (16000, 75000)},
}
"""Seconds before now of what is sent, by archive: so far from where archives meet that a slow machine does not matter.
A series gets points of one kind only; then what it must hold does not depend on when blocks expire."""
LEVELS = {"live": 0, "mid": 1, "old": 2}
REACH = (1150, 7000, 80000)
"""A read from so many seconds ago uses the archive of that number, of either layout, and shows all that went there."""
AHEAD = 90
"""Seconds beyond the clock that are read: points may be ahead."""
FLIP_STEP = 20
"""Series whose schema changes get one point in so many seconds: a value is then the same in both layouts."""

LIVES = ("ingest", "flush", "checkpoint", "settled")
STARTS = ("recovery", "schema")
HARMLESS = ("are no record (a torn tail)", "the manifest does not name it (the next start removes it)")
"""What a check may say of a directory whose daemon was killed."""


def shape_of(model_class, path):
    _, layout, name = path.split(".")
    method = name.rstrip("0123456789")
    return model_class.Shape(ARCHIVES[layout], method, METHODS[method])


class Trial:
    """One data directory, its daemons one after the other, and the model of what they must hold."""

    def __init__(self, nursery, directory, model_class, wait_until, rnd):
        self.nursery = nursery
        self.directory = directory
        self.model = model_class(lambda path: shape_of(model_class, path))
        self.point = model_class.Point
        self.until = wait_until
        self.rnd = rnd
        self.flips = {f"flip.s{i}": {} for i in range(4)}
        self.flip_next = 0
        self.paths = {
            kind: [f"{kind}.{layout}.{method}{i}" for layout in ARCHIVES for method in METHODS for i in range(n)]
            for kind, n in (("live", 3), ("mid", 2), ("old", 1))
        }
        self.rules = 0
        self.sent = []
        self.confirmed = 0
        self.serial = 0
        self.kills = Counter()
        self.compared = 0
        self.replayed = 0
        self.unconfirmed = 0
        self.interrupted = 0
        self.seconds_to_start = 0.3
        self._write_rules()

    # -- starts --------------------------------------------------------------------------------------------------------

    def _write_rules(self):
        for number, flip in enumerate(("fast", "slow")):
            sections = [("flip", "^flip", ARCHIVES[flip])]
            sections += [(name, rf"\.{name}\.", archives) for name, archives in ARCHIVES.items()]
            text = "".join(
                f"[{name}]\npattern = {pattern}\nretentions = {','.join(f'{a}:{b}' for a, b in archives)}\n"
                for name, pattern, archives in sections
            )
            (self.directory / f"schemas{number}.conf").write_text(text)
        text = "".join(
            f"[{method}]\npattern = \\.{method}\\d+$\nxFilesFactor = {factor}\naggregationMethod = {method}\n"
            for method, factor in METHODS.items()
        )
        text += "[flip]\npattern = ^flip\nxFilesFactor = 0\naggregationMethod = max\n"
        (self.directory / "aggregation.conf").write_text(text)

    def _options(self):
        policy = self.rnd.choice(("always", "interval", "never"))
        file = self.directory / "ingestd.toml"
        file.write_text(
            f'[storage]\nlateness = 1\naccess = "{self.rnd.choice(("mmap", "pread"))}"\n'
            f'[journal]\nfsync = "{policy}"\n[telemetry]\nown_series_interval = 0\n'
        )
        schemas = self.directory / f"schemas{self.rules}.conf"
        options = ["--config", str(file), "--schemas", str(schemas)]
        options += ["--aggregation", str(self.directory / "aggregation.conf")]
        return [*options, "--graphite", "127.0.0.1:0", "--http", "127.0.0.1:0", "--pickle", "off", "--collectd", "off"]

    def kill_a_start(self, phase):
        """Kill a daemon that has not finished its start, most likely."""
        if phase == "schema":
            self.rules = 1 - self.rules
        victim = self.nursery.start(*self._options())
        victim.kill_after(self.rnd.uniform(0, self.seconds_to_start))
        victim.buried()
        self.kills[phase] += 1

    def start(self):
        began = time.monotonic()
        victim = self.nursery.start(*self._options())
        self.until(victim.listens, "the daemon to listen")
        self.seconds_to_start = 0.8 * self.seconds_to_start + 0.2 * (time.monotonic() - began)
        return victim

    # -- sending -------------------------------------------------------------------------------------------------------

    def _batch(self):
        """Points of all kinds, each with a value that no other has; in random order, some slots several times."""
        rnd, now = self.rnd, int(self.nursery.clock())
        if rnd.random() < 0.1:
            method, layout = rnd.choice(list(METHODS)), rnd.choice(list(ARCHIVES))
            self.paths["live"].append(f"live.{layout}.{method}{self.serial + 100}")
        batch = []
        for _ in range(rnd.randrange(20, 200)):
            kind = rnd.choices(("live", "mid", "old"), (80, 15, 5))[0]
            path = rnd.choice(self.paths[kind])
            least, most = AGES[kind][path.split(".")[1]]
            age = rnd.randrange(least, most)
            if kind == "live" and rnd.random() < 0.7:
                age = rnd.randrange(-10, 20)
            self.serial += 1
            batch.append(self.point(path, now - age, float(self.serial), LEVELS[kind]))
        slot = now // FLIP_STEP * FLIP_STEP
        if slot > self.flip_next:
            self.flip_next = slot
            for path in self.flips:
                self.serial += 1
                batch.append(self.point(path, slot, float(self.serial), 0))
        return batch

    def live(self, victim, phase):
        """Send until the daemon is dead, and note what its ledger says."""
        rnd = self.rnd
        flush_at = None
        now = time.monotonic()
        if phase == "flush":
            flush_at = now + rnd.uniform(0.05, 0.3)
            victim.kill_after(flush_at - now + rnd.uniform(0, 0.2))
        elif phase == "checkpoint":
            # The first look for blocks that are due comes a second after the start, give or take.
            victim.kill_after(0.95 + rnd.uniform(0, 0.25))
        elif phase == "ingest":
            victim.kill_after(rnd.uniform(0, 0.6))
        batches = rnd.randrange(1, 20) if phase == "settled" else 10**9
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.ExitStack() as open_sockets:
            tcp = open_sockets.enter_context(victim.connect())
            while batches:
                batches -= 1
                batch = self._batch()
                self.sent += batch
                tcp.sendall(b"".join(b"%s %r %d\n" % (p.path.encode(), p.value, p.when) for p in batch))
                if flush_at is not None and time.monotonic() >= flush_at:
                    flush_at = None
                    flush = open_sockets.enter_context(victim.connect("http"))
                    flush.sendall(b"POST /flush HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
                self._note(victim.status())
            self.until(lambda: self._note(victim.status()) == len(self.sent), "all points to be stored")
            victim.kill_after(0)
        victim.buried()
        self.kills[phase] += 1

    def _note(self, status):
        """The points that the ledger calls stored; it balances and rejects none."""
        ledger = status["ledger"]
        assert ledger["rejected"] == {}
        assert ledger["received"] == ledger["stored"] + ledger["in_flight"]
        assert self.confirmed <= ledger["stored"] <= ledger["received"] <= len(self.sent)
        self.confirmed = ledger["stored"]
        return self.confirmed

    # -- verifying -----------------------------------------------------------------------------------------------------

    def verify(self, victim, *, whole):
        """Compare the daemon with the model, which first takes what turns out to have survived of what was sent.

        One connection was read in order and the journal is written in order: a beginning of what was sent is there,
        at least as long as the ledger said.
        """
        status = victim.status()
        assert status["damage"] == []
        assert status["ledger"]["received"] == 0
        journal = status["journal"]
        # A point takes 20 bytes of journal. A start with changed rules has written all that it replayed.
        assert 0 <= 20 * status["replayed"] <= journal["end"]
        assert journal["from"] <= journal["end"]
        self.replayed += status["replayed"]
        now = int(self.nursery.clock()) + AHEAD
        found = {kind: victim.read(f"{kind}.*.*", now - REACH[LEVELS[kind]], now) for kind in LEVELS}
        flips = victim.read("flip.*", now - REACH[0], now)
        self._take_survivors(found | {"flip": flips})
        for kind, answer in found.items():
            self._compare(answer, kind)
        self._compare_flips(flips)
        if whole:
            self._compare(victim.read("live.*.*", now - REACH[1], now), "live")
            self._compare(victim.read("live.*.*", now - REACH[2], now), "live")
            self._compare(victim.read("mid.*.*", now - REACH[2], now), "mid")
            self._compare_flips(victim.read("flip.*", now - REACH[1], now))

    def _take_survivors(self, found):
        survived = self.confirmed
        for i in range(self.confirmed, len(self.sent)):
            point = self.sent[i]
            first, step, values = found[point.path.split(".")[0]].get(point.path, (0, 1, ()))
            slot = (point.when - first) // step
            if 0 <= slot < len(values) and values[slot] == point.value:
                survived = i + 1
        self.unconfirmed += survived - self.confirmed
        for point in self.sent[:survived]:
            if point.path in self.flips:
                self.flips[point.path][point.when] = point.value
            else:
                self.model.put(point)
        self.sent, self.confirmed = [], 0

    def _compare(self, answer, kind):
        missing = {path for path in self.model.series if path.startswith(kind)} - answer.keys()
        assert not missing, f"series are lost: {sorted(missing)[:5]}"
        for path, (first, step, values) in answer.items():
            self._same(path, first, step, values, self.model.expected(path, first, step, len(values)))

    def _compare_flips(self, answer):
        assert {path for path, points in self.flips.items() if points} <= answer.keys()
        for path, (first, step, values) in answer.items():
            expected = np.full(len(values), np.nan)
            for when, value in self.flips[path].items():
                if 0 <= (when - first) // step < len(values):
                    expected[(when - first) // step] = value
            self._same(path, first, step, values, expected)

    def _same(self, path, first, step, values, expected):
        self.compared += int((~np.isnan(expected)).sum())
        if not np.array_equal(values, expected, equal_nan=True):
            wrong = np.flatnonzero(~((values == expected) | (np.isnan(values) & np.isnan(expected))))
            some = [(first + step * int(i), values[i], expected[i]) for i in wrong[:8]]
            pytest.fail(f"{path}, step {step}: {len(wrong)} slots differ; (time, found, expected): {some}")

    def look_at_the_dead(self):
        """What a killed daemon left is whole but for what the next start removes."""
        findings = check(self.nursery.directory).findings
        assert [f for f in findings if not f.endswith(HARMLESS)] == []

    def count_interrupted(self):
        """Whether the kill struck in the midst of writing a block file."""
        self.interrupted += any((self.nursery.directory / "blocks").rglob("*.tmp"))


@pytest.mark.timeout(7200)
def test_kills_at_random_moments_lose_nothing_stored(nursery, tmp_path, model_class, wait_until, effort, figure):
    seed = int(os.environ.get("INGESTD_SEED") or random.SystemRandom().randrange(10**6))
    print(f"INGESTD_SEED={seed}")  # noqa: T201 - shown where the test fails
    trial = Trial(nursery, tmp_path, model_class, wait_until, random.Random(seed))
    wanted = effort(50, 200)
    began = time.monotonic()
    rounds = 0
    while trial.kills.total() < wanted:
        rounds += 1
        if rounds % 3 == 0:
            trial.kill_a_start(STARTS[rounds // 3 % 2])
        victim = trial.start()
        trial.verify(victim, whole=rounds % 10 == 0)
        trial.live(victim, LIVES[rounds % len(LIVES)])
        trial.count_interrupted()
        if rounds % 10 == 0:
            trial.look_at_the_dead()
    victim = trial.start()
    trial.verify(victim, whole=True)
    assert victim.stop() == 0
    assert check(nursery.directory).findings == []
    victim = trial.start()
    assert victim.status()["replayed"] == 0
    trial.verify(victim, whole=True)
    assert victim.stop() == 0
    phases = ", ".join(f"{n} {phase}" for phase, n in sorted(trial.kills.items()))
    figure(
        f"{trial.kills.total()} kills ({phases}), {trial.interrupted} in the midst of a block file, in "
        f"{time.monotonic() - began:.0f} s: {trial.model.points} points stored ({trial.unconfirmed} of them were not "
        f"confirmed before the kill), {trial.replayed} replayed, {trial.compared} values compared, none differs"
    )
