"""The daemon, the relay and the query front as processes: signals, what start and stop say, exit status."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

import uvloop

from ingestd import __version__
from ingestd._speed import COMPILED
from ingestd.app import PARSER, Daemon
from ingestd.build import raise_descriptor_limit
from ingestd.config import Settings
from ingestd.config_types import ConfigError
from ingestd.front import Front
from ingestd.ingest.sources import IngestError
from ingestd.relay import Relay
from ingestd.storage.errors import StorageError
from ingestd.telemetry import set_up_logging
from ingestd.wire.framing import WireError

log = logging.getLogger(__name__)

_GARBAGE: Final = 50_000
"""Objects between two looks for cycles: batches of new names are thousands of objects that make none."""


def _collect_rarely() -> None:
    """What is there after the start stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, *gc.get_threshold()[1:])


class Composition(Protocol):
    """What runs until a signal ends it."""

    async def start(self) -> None: ...
    async def drain(self) -> None: ...


async def _main(settings: Settings, compose: Callable[[Settings], Composition]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        daemon = compose(settings)
        await daemon.start()
    except (ConfigError, IngestError, StorageError, WireError, OSError) as e:
        log.error("cannot start: %s", e)
        return 1
    if not COMPILED:
        log.warning(
            "the compiled kernels are missing: each line takes many times the CPU; a C compiler at install mends it"
        )
    _collect_rarely()
    log.info("ready", extra={"version": __version__, "parser": PARSER})
    await stop.wait()
    await daemon.drain()
    log.info("stopped")
    return 0


def serve(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT; the exit status."""
    return _run(settings, Daemon)


def relay(settings: Settings) -> int:
    """Run a relay until SIGTERM or SIGINT; the exit status."""
    return _run(settings, Relay)


def query(settings: Settings) -> int:
    """Run a query front until SIGTERM or SIGINT; the exit status."""
    return _run(settings, Front)


def _run(settings: Settings, compose: Callable[[Settings], Composition]) -> int:
    set_up_logging(settings.server.log_level, settings.server.log_format)
    os.umask(0o027)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(settings, compose))
