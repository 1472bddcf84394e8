"""A bounded pool of threads in which questions are answered, so that the event loop never waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ingestd.serve.params import ServeError

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """``workers`` threads, before which at most ``waiting`` calls queue."""

    def __init__(self, workers: int, waiting: int, timeout: float) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="answer")
        self._allowed = workers + waiting
        self._timeout = timeout
        self._lock = threading.Lock()
        self._busy = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call made in one of the threads.

        A call that is given up keeps its thread until it returns; it counts until then, so threads cannot pile up.

        :raises ServeError: 503, too many calls wait or this one took too long.
        """
        with self._lock:
            if self._busy >= self._allowed:
                raise ServeError(503, "too many questions at once; ask again later")
            self._busy += 1
        future = self._pool.submit(function, *args, **kwargs)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout)
        except TimeoutError:
            raise ServeError(503, f"no answer within {self._timeout:g} s") from None

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Take no more calls; those that run are left alone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
