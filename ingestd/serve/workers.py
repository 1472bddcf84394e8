"""A bounded pool of threads in which questions are answered, so that the event loop never waits for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from ingestd.serve.params import ServeError

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """``workers`` threads, before which at most ``waiting`` calls queue."""

    def __init__(self, workers: int, waiting: int, timeout: float) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="answer")
        self._free = asyncio.Semaphore(workers)
        self._allowed = workers + waiting
        self._timeout = timeout
        self._busy = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call made in one of the threads.

        One whose client hangs up while it queues is never made. One that runs keeps its thread until it returns; it
        counts until then, so threads cannot pile up.

        :raises ServeError: 503, too many calls wait or this one took too long.
        """
        if self._busy >= self._allowed:
            raise ServeError(503, "too many questions at once; ask again later (http.waiting)")
        self._busy += 1
        asked = False
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
                answer = self._made(partial(function, *args, **kwargs))
                asked = True
                return await answer
        except TimeoutError:
            raise ServeError(503, f"no answer within {self._timeout:g} s (http.timeout)") from None
        finally:
            if not asked:
                self._busy -= 1

    def _made(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """What a call gives, which is made in a thread; the thread is free again when it has returned."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def returned(made: Future[T]) -> None:
            self._busy -= 1
            self._free.release()
            # Nobody may wait any more; a pool that was closed cancels what has not begun.
            if answer.done() or (made.cancelled() and answer.cancel()):
                return
            if (error := made.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(made.result())

        def done(made: Future[T]) -> None:
            # A call may return while the loop is being closed; nobody waits for its thread any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(returned, made)

        self._pool.submit(call).add_done_callback(done)
        return answer

    def close(self) -> None:
        """Take no more calls; those that run are left alone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
