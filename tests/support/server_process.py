"""One server process for tests, to be started, killed, paused and started again. `servers` is what tests import."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_SECONDS = 10.0
POLL_SECONDS = 0.01
START_ATTEMPTS = 3
"""A port that was free a moment ago may be taken by the time the server binds it."""

_ONCE = Retry(NoBackoff(), 0)
_running: set["Server"] = set()


class ServerDied(Exception):
    """The child ended unasked; the message holds the end of its log."""


def eventually(check: Callable[[], bool], *, seconds: float = START_SECONDS, what: str = "the condition") -> None:
    """Poll until `check` is true, or fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process with a directory of its own. Its port stays the same over kills and restarts."""

    def __init__(self, binary: str, options: Sequence[str] = ()) -> None:
        self.binary = binary
        self.options = list(options)
        self.host = "127.0.0.1"
        self.port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    def __repr__(self) -> str:
        return f"<{Path(self.binary).name} :{self.port}>"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def password(self) -> str | None:
        """What `--requirepass` in its options says."""
        words = dict(zip(self.options[::2], self.options[1::2], strict=False))
        return words.get("--requirepass")

    @property
    def primaries(self) -> list["Server"]:
        return [self]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def client(self) -> redis.Redis:
        """A blocking client of the test's own, without retries."""
        if self._client is None:
            self._client = redis.Redis(
                host=self.host, port=self.port, password=self.password, protocol=2, socket_timeout=5, retry=_ONCE
            )
        return self._client

    def command(self, *words: bytes | str | int) -> object:
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        self.client.flushall()
        self.client.script_flush()

    def start(self) -> None:
        for attempt in range(START_ATTEMPTS):
            self.port = free_port()
            try:
                self._launch()
                return
            except ServerDied:
                if attempt == START_ATTEMPTS - 1:
                    raise

    def restart(self, *, keep_data: bool = True) -> None:
        """Kill it if it still runs, and start it again on the same port, with its data or with none."""
        self.kill()
        if not keep_data:
            shutil.rmtree(self.directory)
            self.directory.mkdir()
        self._launch()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: the kernel still takes connections, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wait_for_replicas(self, count: int) -> None:
        """Wait until `count` replicas are in sync and have everything."""

        def in_sync() -> bool:
            info = self.client.info("replication")
            states = [info.get(f"slave{index}", {}).get("state") for index in range(count)]
            return all(state == "online" for state in states)

        eventually(in_sync, what=f"{count} replicas in sync")
        self.client.wait(count, int(START_SECONDS * 1000))

    def _launch(self) -> None:
        log = (self.directory / "server.log").open("ab")
        command = [self.binary, "--port", str(self.port), "--bind", self.host, "--dir", str(self.directory)]
        with log:
            self._process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        _running.add(self)
        try:
            eventually(self._answers, what=f"{self!r} answering")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        # A stranger on the port would answer PING as well, so the child's pulse comes first, and its own pid after.
        if not self.alive:
            raise ServerDied(self._log_end())
        try:
            return int(self.client.info("server")["process_id"]) == self.pid
        except redis.RedisError:
            return False

    def _log_end(self) -> str:
        path = self.directory / "server.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else "no log"

    def _end(self, number: signal.Signals) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            if number is not signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None
        _running.discard(self)


@atexit.register
def _end_all() -> None:
    for server in list(_running):
        server.close()
