"""Starts daemons for the kill test: ``python zygote.py EPOCH SPEED``.

It imports ingestd once and forks, so that a start costs what recovery costs and a kill during a start meets recovery
and not Python's imports. In the daemons the clock runs SPEED times as fast from EPOCH on, blocks have 60 slots, and
the journal's limit and segments and the budget for late points are smaller than settings may make them, so that blocks
close, roll up and expire, and segments begin and go, within seconds. All else is ``ingestd serve`` as a user starts it.

Commands, one a line on stdin, each answered by one line: ``["start", log, arguments...]``: the process id;
``["wait", id]``: the exit status (negative: the signal), once it has ended; ``["ended", id]``: whether it has.
"""

import dataclasses
import gc
import json
import os
import sys
import time
import traceback

EPOCH, SPEED = map(float, sys.argv[1:])
REAL_CLOCK = time.time
time.time = lambda: EPOCH + (REAL_CLOCK() - EPOCH) * SPEED

import ingestd.app  # noqa: E402
from ingestd.cli import main  # noqa: E402
from ingestd.storage import layout  # noqa: E402

layout.FINEST_SLOTS = layout.COARSE_SLOTS = (60, 60)
full_size = ingestd.app.store_settings
ingestd.app.store_settings = lambda settings: dataclasses.replace(
    full_size(settings), journal_limit=64 << 10, segment_bytes=256 << 10, late_budget=64 << 10
)


def start(log, *arguments):
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        main(arguments, standalone_mode=False)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(process):
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        command, *given = json.loads(line)
        answer = {"start": start, "wait": wait, "ended": ended}[command](*given)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol
