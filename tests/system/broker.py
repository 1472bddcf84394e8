"""A private RabbitMQ on loopback: its own name, ports, directories and cookie; nothing of the system's service.

Several on one machine form a cluster (:meth:`Broker.join`): they share the port of their epmd and their cookie.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 120.0
"""Seconds in which a broker must have started; it takes 5 to 10."""
SCRIPTS = Path("/usr/lib/rabbitmq/bin")


def free_port():
    """A port of loopback that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """One node, its files in ``directory``. ``peer``: a broker whose epmd and cookie it shares."""

    def __init__(self, directory: Path, name="rabbit", peer=None, settings="", plugins=()):
        self.directory = directory
        self.node = f"{name}-{secrets.token_hex(4)}@localhost"
        self.port = free_port()
        self._dist_port = free_port()
        self._epmd_port = peer._epmd_port if peer else free_port()
        self._process = None
        self._epmd = None
        for part in ("home", "mnesia", "log"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        cookie = directory / "home" / ".erlang.cookie"
        cookie.write_text((peer.directory / "home" / ".erlang.cookie").read_text() if peer else secrets.token_hex(16))
        cookie.chmod(0o400)
        (directory / "plugins").write_text(f"[{','.join(plugins)}].\n")
        # What a machine of tests has is little, and nothing of it is worth an alarm of its own.
        (directory / "rabbitmq.conf").write_text(
            "disk_free_limit.absolute = 1MB\nvm_memory_high_watermark.relative = 0.8\nlog.file.level = warning\n"
            + settings
        )

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def _environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return kept | {
            "HOME": str(self.directory / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        }

    def start(self):
        """Start it, again after :meth:`stop` or :meth:`kill` too, and wait until it takes connections."""
        self._start_epmd()
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [SCRIPTS / "rabbitmq-server"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the broker did not start:\n" + (self.directory / "output").read_text()[-4000:])
            time.sleep(0.05)
        return self

    def _start_epmd(self):
        try:
            socket.create_connection(("127.0.0.1", self._epmd_port), timeout=1).close()
        except OSError:
            self._epmd = subprocess.Popen(
                [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _answers(self):
        """Whether the protocol's greeting is answered: the port is open some time before."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                s.sendall(b"AMQP\0\0\x09\x01")
                return s.recv(1) == b"\x01"
        except OSError:
            return False

    def ctl(self, *arguments):
        """``rabbitmqctl ARGUMENTS``: its output."""
        done = subprocess.run(
            [SCRIPTS / "rabbitmqctl", "--quiet", "-n", self.node, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def join(self, other):
        """Become a member of the cluster of ``other``, empty."""
        self.ctl("stop_app")
        self.ctl("join_cluster", other.node)
        self.ctl("start_app")

    def suspend(self):
        """Stand still, as behind a network that has gone."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self):
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self):
        """``kill -9``."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self):
        """In order: SIGTERM."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(PATIENCE)

    def close(self):
        """End what was started."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
