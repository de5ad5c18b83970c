"""Real nodes for tests: `headrace serve` as a process, killed and restarted as a test likes, always cleaned up.

with nodes.node() as node:                       # embedded engine, fresh data, a free port
    node.kill(); node.restart()                  # same port, same data
    node.kill_engine()                           # kill -9 of its Valkey

with nodes.on(server, count=2) as (a, b):        # two nodes on one Redis, with the same secrets
    a.pause(); a.resume()                        # SIGSTOP, SIGCONT
"""

import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from servers import Cluster, Server, free_port

START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05


class Node:
    """One node's process, its address, and a token that may do everything."""

    def __init__(
        self,
        data: Path,
        *,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        token: str = "",
        ca: str = "",
    ) -> None:
        """`ca` is the authority's file where the options give the node a certificate."""
        self.data = data
        self.port = free_port()
        self.tls = ssl.create_default_context(cafile=ca) if ca else None
        """What a client needs to trust the node; None: it serves http."""
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{self.port}"
        self.token = token or secrets.token_hex(16)
        self.headers = {"x-api-key": self.token}
        self._options = options
        self._env = {"HEADRACE_SERVICE_TOKEN": self.token, **(env or {})}
        self._log = data.parent / f"{data.name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client command that talks to this node."""
        return {**os.environ, "HEADRACE_SERVER": self.url, "HEADRACE_TOKEN": self.token}

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(self.port), "--data", str(self.data)]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*command, *self._options],
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_ready(self, *, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._child is not None
            status = self._child.poll()
            assert status is None, f"the node ended with status {status}:\n{self.log[-4000:]}"
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5, verify=self.tls or True).status_code == 200:
                    return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the node did not become ready:\n{self.log[-4000:]}")

    def listed(self) -> dict[str, str]:
        """Return the cluster as this node sees it: ids, each with the name; its own first."""
        answer = httpx.get(f"{self.url}/nodes", headers=self.headers, timeout=5, verify=self.tls or True)
        shown = sorted(answer.json()["nodes"], key=lambda node: not node["this"])
        return {node["id"]: node["name"] for node in shown}

    def await_peer(self, other: "Node", *, seconds: float = START_SECONDS) -> None:
        """Wait until this node knows of the other as it is now: only then has it somewhere to send its clients."""
        wanted = next(iter(other.listed()))
        deadline = time.monotonic() + seconds
        while wanted not in self.listed():
            assert time.monotonic() < deadline, f"{wanted} is not known: {self.listed()}"
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """kill -9, as a machine that loses its power would."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open, nobody reads them."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)

    def signal(self) -> None:
        """SIGTERM, without waiting for what it does."""
        os.kill(self.pid, signal.SIGTERM)

    def start_terminating(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.start_terminating()
        assert self._child is not None
        return self._child.wait(STOP_SECONDS)

    def restart(self) -> None:
        self.start()
        self.await_ready()

    def engine_pid(self) -> int | None:
        """Return the process whose working directory is the node's data: its Valkey."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    engine = "valkey" in (entry / "comm").read_text() or "redis" in (entry / "comm").read_text()
                    if engine and (entry / "cwd").readlink() == self.data.resolve():
                        return int(entry.name)
        return None

    def kill_engine(self) -> None:
        pid = self.engine_pid()
        assert pid is not None, "the engine is not running"
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """End whatever still runs of this node."""
        if self._child is not None and self._child.poll() is None:
            self.resume()
            self.terminate()
        pid = self.engine_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


@contextmanager
def node(*, options: tuple[str, ...] = (), env: dict[str, str] | None = None, ca: str = "") -> Iterator[Node]:
    """Run a node with an embedded engine on fresh data."""
    root = Path(tempfile.mkdtemp(prefix="headrace-node-"))
    started = Node(root / "data", options=options, env=env, ca=ca)
    try:
        started.restart()
        yield started
    finally:
        started.end()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def on(redis: Server | Cluster, *, count: int, env: dict[str, str] | None = None) -> Iterator[list[Node]]:
    """Run `count` nodes, named n0, n1, ..., on one Redis; all take the same token."""
    root = Path(tempfile.mkdtemp(prefix="headrace-nodes-"))
    token = secrets.token_hex(16)
    shared = {"HEADRACE_SECRET_KEY": secrets.token_hex(32), "HEADRACE_REDIS": redis.url, **(env or {})}
    started = [
        Node(root / f"n{number}", options=("--name", f"n{number}"), env=shared, token=token) for number in range(count)
    ]
    try:
        for one in started:
            one.start()
        for one in started:
            one.await_ready()
        yield started
    finally:
        for one in started:
            one.end()
        shutil.rmtree(root, ignore_errors=True)
