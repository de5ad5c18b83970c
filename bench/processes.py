"""Starts what is measured, each in a process of its own, and ends it whatever happens."""

import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.engine import find_engine

START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: its base URL, a token that may do everything, and its process id."""

    url: str
    token: str
    pid: int
    data: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.token}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Let this process and its children open as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def running(command: list[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a child until the block ends, then SIGTERM it, then kill it."""
    child = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def node(*, redis: str = "", env: dict[str, str] | None = None) -> Iterator[Node]:
    """Run `headrace serve` on `redis`, or with an embedded engine on fresh data."""
    data = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    token, port = secrets.token_hex(16), free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "gateway", "serve", "--host", HOST, "--port", str(port), "--data", str(data)]
    if redis:
        command += ["--redis", redis]
    try:
        with running(command, {"HEADRACE_SERVICE_TOKEN": token, **(env or {})}) as child:
            _await_ready(url, child)
            yield Node(url, token, child.pid, data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey that several nodes may share, as durable as the embedded one; yields its URL."""
    data, port = Path(tempfile.mkdtemp(prefix="headrace-bench-")), free_port()
    options = {"port": port, "bind": HOST, "dir": data, "logfile": data / "log", "save": ""}
    options |= {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    command = [find_engine(), *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
    try:
        with running(command):
            _await_port(port)
            yield f"redis://{HOST}:{port}"
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def reference(kind: str) -> Iterator[tuple[int, int]]:
    """Run one of `bench.reference`; yields its port and its process id."""
    port = free_port()
    with running([sys.executable, "-m", "bench.reference", kind, str(port)]) as child:
        assert child.stdout is not None
        if child.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"the reference {kind} did not start")
        if kind == "http":
            _await_port(port)
        yield port, child.pid


def _await_ready(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"the node ended with status {child.returncode}")
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the node did not become ready")


def _await_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(POLL_SECONDS)
    raise RuntimeError("the reference does not listen")
