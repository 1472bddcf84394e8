"""Which layout and profile each series has, as columns indexed by series id."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids
from ingestd.storage import registry
from ingestd.storage.layout import Layout, make_layout
from ingestd.storage.rollup import Profile
from ingestd.storage.schema import Schema


class Rules(Protocol):
    """The schema of a new series, from carbon's configuration files."""

    def schemas(self, paths: Sequence[str]) -> Sequence[Schema]: ...


class SeriesTable:
    """Layouts, profiles, and the columns ``layout_of`` and ``profile_of`` (uint16, at least ``len(self)`` long).

    Only the event loop adds. Columns grow by replacement, so that a reader on another thread keeps those it has.
    """

    def __init__(self) -> None:
        self.layouts: list[Layout] = []
        self.profiles: list[Profile] = []
        self.layout_of: NDArray[np.uint16] = np.zeros(1024, np.uint16)
        self.profile_of: NDArray[np.uint16] = np.zeros(1024, np.uint16)
        self.history: dict[int, tuple[int, ...]] = {}
        """Earlier layouts of series whose schema was changed, the latest first."""
        self._layout_ids: dict[tuple[tuple[int, int], ...], int] = {}
        self._profile_ids: dict[Profile, int] = {}
        self._n = 0
        self.living = 0
        """Series that have a name."""
        self.gone: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        """Ids whose series was forgotten."""

    def __len__(self) -> int:
        return self._n

    def load(self, loaded: registry.Loaded) -> None:
        """Take over what the registry's log says."""
        for archives in loaded.layouts:
            self._add_layout(archives)
        for method, x_files_factor in loaded.profiles:
            self._add_profile(Profile(method, x_files_factor))
        self._n = len(loaded.layout)
        self.living = self._n - loaded.forgotten
        self._grow(self._n)
        self.layout_of[: self._n] = loaded.layout
        self.profile_of[: self._n] = loaded.profile
        self.gone[: self._n] = True
        self.gone[loaded.names.ids] = False
        self.history = loaded.history

    def create(self, paths: Sequence[str], rules: Rules) -> tuple[Ids, list[bytes]]:
        """Ids (uint32[n], ascending) for new ``paths``, and the registry records that say so, in order."""
        layout, profile, records = self._match(paths, rules)
        first, self._n = self._n, self._n + len(paths)
        self.living += len(paths)
        self._grow(self._n)
        self.layout_of[first : self._n] = layout
        self.profile_of[first : self._n] = profile
        records.append(registry.encode_create(first, layout, profile, paths))
        return np.arange(first, self._n, dtype=np.uint32), records

    def _match(self, paths: Sequence[str], rules: Rules) -> tuple[NDArray[np.uint16], NDArray[np.uint16], list[bytes]]:
        """Layout and profile of each path, and the records of those that are new."""
        records: list[bytes] = []
        schemas = rules.schemas(paths)
        # By identity: there are a few of them, and to compare the archives of each would take longer than to match.
        which = np.fromiter(map(id, schemas), np.uintp, len(schemas))
        if len(which) and (which == which[0]).all():
            layout, profile = self._numbers_of(schemas[0], records)
            return np.full(len(which), layout, np.uint16), np.full(len(which), profile, np.uint16), records
        _, first, kind_of = np.unique(which, return_index=True, return_inverse=True)
        pairs = np.zeros((len(first), 2), np.uint16)
        for kind in np.argsort(first).tolist():
            pairs[kind] = self._numbers_of(schemas[first[kind]], records)
        return pairs[kind_of, 0], pairs[kind_of, 1], records

    def _numbers_of(self, schema: Schema, records: list[bytes]) -> tuple[int, int]:
        """Layout and profile of a schema; those that are new are added, to ``records`` as well."""
        archives = tuple((a.step, a.slots) for a in schema.archives)
        layout = self._layout_ids.get(archives)
        if layout is None:
            layout = self._add_layout(archives)
            records.append(registry.encode_layout(layout, archives))
        wanted = Profile(schema.method, schema.x_files_factor)
        profile = self._profile_ids.get(wanted)
        if profile is None:
            profile = self._add_profile(wanted)
            records.append(registry.encode_profile(profile, wanted.method, wanted.x_files_factor))
        return layout, profile

    def match_again(self, names: registry.NameBlob, rules: Rules) -> tuple[list[bytes], int]:
        """Match all series against changed rules: the registry records that say so, and how many series changed.

        Points go to the new layout from here on; what is older is read from the earlier ones until it expires.
        """
        bounds = names.offsets.tolist()
        paths = [names.blob[a:b].decode() for a, b in itertools.pairwise(bounds)]
        layout, profile, records = self._match(paths, rules)
        ids = names.ids
        differs = (layout != self.layout_of[ids]) | (profile != self.profile_of[ids])
        for pair in np.unique(np.stack([layout[differs], profile[differs]]), axis=1).T.tolist():
            mine = ids[differs & (layout == pair[0]) & (profile == pair[1])]
            records.append(registry.encode_change(mine, *pair))
            for number, old in zip(mine.tolist(), self.layout_of[mine].tolist(), strict=True):
                if old != pair[0]:
                    self.history[number] = (old, *self.history.get(number, ()))
            self.layout_of[mine], self.profile_of[mine] = pair
        return records, int(differs.sum())

    def forget(self, ids: Ids) -> None:
        """Series ``ids`` (uint32[n], each living) lose their names."""
        self.gone[ids] = True
        self.living -= len(ids)

    def _add_layout(self, archives: tuple[tuple[int, int], ...]) -> int:
        number = self._layout_ids[archives] = len(self.layouts)
        self.layouts.append(make_layout(number, archives))
        return number

    def _add_profile(self, profile: Profile) -> int:
        number = self._profile_ids[profile] = len(self.profiles)
        self.profiles.append(profile)
        return number

    def _grow(self, n: int) -> None:
        if n > len(self.layout_of):
            capacity = max(n, len(self.layout_of) * 5 // 4)
            for name in ("layout_of", "profile_of", "gone"):
                old = getattr(self, name)
                new = np.zeros(capacity, old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)
