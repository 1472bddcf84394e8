"""Daemons that are started and killed often, and the model of what they hold."""

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np
import pytest

SPEED = 20
"""Seconds of the daemons' clock in one of ours."""
PATIENCE = 60.0


class Victim:
    """A running daemon of a :class:`Nursery`."""

    def __init__(self, nursery, process):
        self._nursery = nursery
        self._http = None
        self._gun = None
        self.process = process
        self.dead = False
        self.addresses = {}

    def listens(self):
        """Whether it listens by now; fails if it ended instead."""
        try:
            self.addresses = json.loads((self._nursery.directory / "listeners.json").read_text())
        except FileNotFoundError:
            if self._nursery.ask("ended", self.process):
                pytest.fail(f"the daemon ended by itself:\n{self._nursery.log[-6000:]}")
            return False
        self._http = http.client.HTTPConnection(*self._address("http"), timeout=PATIENCE)
        return True

    def _address(self, listener):
        host, port = self.addresses[listener].rsplit(":", 1)
        return host, int(port)

    def connect(self, listener="graphite/tcp"):
        return socket.create_connection(self._address(listener), timeout=PATIENCE)

    def get(self, path, parameters=()):
        """The body of an answer, which must be 200; OSError or HTTPException once the daemon is dead."""
        self._http.request("GET", path + ("?" + urllib.parse.urlencode(parameters) if parameters else ""))
        answer = self._http.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, body
        return body

    def status(self):
        return json.loads(self.get("/status"))

    def read(self, pattern, start, now):
        """{name: (first slot's time, step, values)} of ``(start, now]``, as the daemon answers it at ``now``."""
        query = [("target", pattern), ("from", start), ("until", now), ("now", now), ("format", "raw")]
        found = {}
        for line in self.get("/render", query).splitlines():
            head, _, values = line.partition("|")
            name, first, _, step = head.rsplit(",", 3)
            numbers = np.fromstring(values.replace("None", "nan"), sep=",")
            found[name] = int(first), int(step), numbers
        return found

    def kill_after(self, seconds):
        """Have it killed in ``seconds`` from now, whatever it does then."""
        self._gun = threading.Timer(max(seconds, 0), os.kill, (self.process, signal.SIGKILL))
        self._gun.start()

    def buried(self):
        """Wait until the kill of :meth:`kill_after` has struck."""
        self._gun.join()
        self.close()
        assert self._ended() == -signal.SIGKILL, self._nursery.log[-6000:]

    def stop(self):
        """SIGTERM; the exit status."""
        self.close()
        os.kill(self.process, signal.SIGTERM)
        return self._ended()

    def _ended(self):
        status = self._nursery.ask("wait", self.process)
        self.dead = True
        return status

    def close(self):
        """Give up the connection for questions."""
        if self._http is not None:
            self._http.close()


class Nursery:
    """Starts ``ingestd serve`` on one data directory, as zygote.py says."""

    def __init__(self, directory: Path, epoch: float):
        self.directory = directory
        self._epoch = epoch
        command = [sys.executable, str(Path(__file__).with_name("zygote.py")), repr(epoch), str(SPEED)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._started: list[Victim] = []

    def clock(self):
        """What the daemons take for the time, in seconds."""
        return self._epoch + (time.time() - self._epoch) * SPEED

    def ask(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote has ended"
        return json.loads(answer)

    def start(self, *options):
        """A :class:`Victim` that starts now; it may not listen yet."""
        (self.directory / "listeners.json").unlink(missing_ok=True)
        arguments = ["serve", "--data", str(self.directory), *options]
        self._started.append(Victim(self, self.ask("start", str(self._log), *arguments)))
        return self._started[-1]

    @property
    def _log(self):
        return self.directory.parent / "log"

    @property
    def log(self):
        return self._log.read_text()

    def close(self):
        """Kill the daemon that runs yet, if there is one."""
        for victim in self._started:
            victim.close()
            if not victim.dead:
                os.kill(victim.process, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@pytest.fixture
def nursery(tmp_path):
    made = Nursery(tmp_path / "data", float(int(time.time())))
    yield made
    made.close()


@pytest.fixture(scope="session")
def model_class():
    """The class ``Model`` of model.py, which stands beside this file."""
    spec = importlib.util.spec_from_file_location("crash_model", Path(__file__).with_name("model.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model
