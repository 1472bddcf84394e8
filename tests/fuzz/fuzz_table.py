"""The table of targets, those of the greatest risk first."""

from __future__ import annotations

from typing import Final

from fuzz_answers import Answers
from fuzz_batches import Batches
from fuzz_charts import Charts
from fuzz_collectd import AuthFile, Datagrams, Encrypted, Signed, TypesFile
from fuzz_config import Aggregation, Schemas, Settings
from fuzz_files import BlockFiles, JournalFiles, LogFiles
from fuzz_frames import Pickles
from fuzz_lines import Lines
from fuzz_load import Made
from fuzz_peers import Peers
from fuzz_query import GlobPatterns, TagSearches, Targets, Times
from fuzz_serve import Credentials, Events, Handlers, Multiparts, Parameters, Questions, TokenFiles
from fuzz_target import Target
from fuzz_texts import Jsons, PutVals

TARGETS: Final[dict[str, type[Target]]] = {
    target.name: target
    for target in (
        Datagrams,
        Signed,
        Encrypted,
        Lines,
        Pickles,
        Batches,
        PutVals,
        Jsons,
        Peers,
        Targets,
        Multiparts,
        Questions,
        Answers,
        Charts,
        Parameters,
        Events,
        Credentials,
        TokenFiles,
        Handlers,
        Times,
        GlobPatterns,
        TagSearches,
        Settings,
        Schemas,
        Aggregation,
        AuthFile,
        JournalFiles,
        LogFiles,
        BlockFiles,
        TypesFile,
        Made,
    )
}
