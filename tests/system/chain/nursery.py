"""Starts members of a chain: ``python nursery.py``.

It imports ingestd once and forks, so that a start costs what a start costs and not Python's imports. Commands, one a
line on stdin, each answered by one line: ``["start", log, arguments...]``: the process id; ``["wait", id]``: the exit
status (negative: the signal), once it has ended; ``["ended", id]``: whether it has.
"""

import gc
import importlib
import json
import os
import sys
import traceback

from ingestd.cli import main

for module in ("app", "consuming", "front", "relay", "process"):
    importlib.import_module(f"ingestd.{module}")


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
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
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
