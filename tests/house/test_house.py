"""The house stays in order: who imports whom, what pure files may touch, how long a thing may get.

Each exception stands in a table here with its reason; a limit is raised nowhere else.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

LONGER_FILES: dict[str, str] = {}
"""Path: why it is longer than the limit."""

LONGER_FUNCTIONS: dict[str, str] = {}
"""path:function: why it is longer than the limit."""

LAYERS = ["broker", "cluster", "gateway"]
"""Imports go from right to left, never back."""

ROOMS = ["realtime", "sse", "ams", "admin", "push", "apigateway", "channel", "migratorydata"]

PURE = [
    "broker/acks.py",
    "broker/allowance.py",
    "broker/avro.py",
    "broker/errors.py",
    "broker/idempotency.py",
    "broker/live.py",
    "broker/members.py",
    "broker/messages.py",
    "broker/names.py",
    "broker/positions.py",
    "broker/redelivery.py",
    "broker/retention.py",
    "broker/rights.py",
    "broker/roles.py",
    "broker/schemas.py",
    "broker/store/announcements.py",
    "broker/store/keys.py",
    "broker/store/memory_log.py",
    "broker/store/memory_subscription.py",
    "broker/store/once.py",
    "broker/store/subscription_wire.py",
    "broker/store/wire.py",
    "broker/traffic.py",
    "broker/users.py",
    "broker/whereabouts.py",
    "cluster/drain.py",
    "clients/python/headrace/consuming.py",
    "clients/python/headrace/dialects.py",
    "clients/python/headrace/events.py",
    "clients/python/headrace/failover.py",
    "clients/python/headrace/following.py",
    "clients/python/headrace/followings.py",
    "clients/python/headrace/frames.py",
    "clients/python/headrace/outbox.py",
    "clients/python/headrace/outcomes.py",
    "clients/python/headrace/positions.py",
    "clients/python/headrace/protocol.py",
    "clients/python/headrace/requests.py",
    "cluster/letters.py",
    "cluster/membership.py",
    "cluster/outage.py",
    "cluster/servers.py",
    "gateway/admission.py",
    "gateway/ams/access.py",
    "gateway/ams/measures.py",
    "gateway/ams/profiles.py",
    "gateway/ams/rates.py",
    "gateway/ams/receiving.py",
    "gateway/ams/settings.py",
    "gateway/ams/wire.py",
    "gateway/apigateway/beyond/criteria.py",
    "gateway/apigateway/beyond/deeds.py",
    "gateway/apigateway/configuration/definitions.py",
    "gateway/apigateway/errors.py",
    "gateway/apigateway/application/events.py",
    "gateway/apigateway/sockets/frames.py",
    "gateway/apigateway/application/grants.py",
    "gateway/apigateway/cluster/identifiers.py",
    "gateway/apigateway/cluster/invocations.py",
    "gateway/apigateway/cluster/letters.py",
    "gateway/apigateway/application/mapping.py",
    "gateway/apigateway/application/models.py",
    "gateway/apigateway/application/outcomes.py",
    "gateway/apigateway/application/policies.py",
    "gateway/apigateway/configuration/reading.py",
    "gateway/apigateway/application/reports.py",
    "gateway/apigateway/management/reach.py",
    "gateway/apigateway/cluster/records.py",
    "gateway/apigateway/beyond/wire.py",
    "gateway/apigateway/application/selection.py",
    "gateway/apigateway/management/sigv4.py",
    "gateway/apigateway/configuration/stages.py",
    "gateway/apigateway/configuration/targets.py",
    "gateway/apigateway/management/throttle.py",
    "gateway/channel/errors.py",
    "gateway/channel/names.py",
    "gateway/channel/settings.py",
    "gateway/channel/tokens.py",
    "gateway/channel/wire.py",
    "gateway/channel/messages.py",
    "gateway/framing.py",
    "gateway/origins.py",
    "gateway/push/wire.py",
    "gateway/realtime/fields.py",
    "gateway/realtime/frames.py",
    "gateway/realtime/payloads.py",
    "gateway/realtime/wire.py",
    "gateway/sse/wire.py",
]

IMPURE_MODULES = {"asyncio", "time", "random", "secrets", "socket", "os", "logging", "subprocess", "threading", "uuid"}
"""What a pure file has no business with; `datetime` is allowed for its types, its `now` is not."""

WITHOUT_A_TEST_FILE = {
    "broker/lanes.py": "two records without behaviour",
    "gateway/apigateway/ports.py": "ports and values without behaviour",
    "gateway/channel/ports.py": "ports and values without behaviour",
    "broker/ports.py": "ports and values: tests/broker/test_hub.py and the rooms' tests hold both sides to them",
    "broker/store/base.py": "ports and values: tests/broker/store/test_contract.py holds every implementation to them",
    "gateway/context.py": "one dataclass without behaviour",
}


def sources() -> list[Path]:
    return list(_sources())


def _sources() -> Iterator[Path]:
    for layer in [*LAYERS, "bench"]:
        yield from sorted((ROOT / layer).rglob("*.py"))
    yield from sorted((ROOT / "clients/python/headrace").rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: imports are absolute"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    if layer == "clients":
        assert not tops(path) & {*LAYERS, "bench"}, "a client knows nothing of the server"
    elif layer in LAYERS:
        above = set(LAYERS[LAYERS.index(layer) + 1 :])
        assert not tops(path) & above, f"{layer} imports what stands above it"


@pytest.mark.parametrize("path", sorted((ROOT / "gateway").rglob("*.py")), ids=relative)
def test_rooms_do_not_import_rooms(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if len(parts) < 3:
        return
    others = [room for room in ROOMS if room != parts[1]]
    reached = [name for name in imports_of(path) for room in others if f"{name}.".startswith(f"gateway.{room}.")]
    assert not reached


@pytest.mark.parametrize("name", PURE)
def test_pure_files_touch_nothing(name: str) -> None:
    path = ROOT / name
    assert not tops(path) & IMPURE_MODULES
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef), f"{name}:{node.lineno} awaits"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"open", "print", "input"}, f"{name}:{node.lineno} does I/O"
            assert not called.endswith((".now", ".utcnow", ".today")), f"{name}:{node.lineno} reads a clock"


def test_only_the_configuration_reads_the_environment() -> None:
    readers = [
        relative(path)
        for path in sources()
        if path.is_relative_to(ROOT / "gateway")
        or path.is_relative_to(ROOT / "broker")
        or path.is_relative_to(ROOT / "cluster")
        if re.search(r"\bos\.environ\b|\bgetenv\(|\benviron\b", path.read_text())
    ]
    assert readers in ([], ["gateway/config.py"])


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_a_source_file_has_its_test_file(path: Path) -> None:
    if path.name == "__init__.py" or relative(path) in WITHOUT_A_TEST_FILE:
        return
    parts = path.relative_to(ROOT).parts
    if parts[:3] == ("clients", "python", "headrace"):
        parts = ("clients", "python", *parts[3:])
    name = "main" if path.stem == "__main__" else path.stem
    expected = ROOT.joinpath("tests", *parts[:-1], f"test_{name}.py")
    assert expected.exists(), f"{relative(path)} has no {relative(expected)}"


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= MAX_FILE_LINES or relative(path) in LONGER_FILES, f"{lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            allowed = f"{relative(path)}:{node.name}" in LONGER_FUNCTIONS
            assert length <= MAX_FUNCTION_LINES or allowed, f"{node.name} has {length} lines"


def test_every_exception_is_still_needed() -> None:
    for name in LONGER_FILES:
        assert (ROOT / name).read_text().count("\n") > MAX_FILE_LINES, f"{name} fits again: delete its row"
    for key in LONGER_FUNCTIONS:
        name, _, function = key.partition(":")
        lengths = [
            (node.end_lineno or 0) - node.lineno + 1
            for node in ast.walk(ast.parse((ROOT / name).read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
        ]
        assert max(lengths) > MAX_FUNCTION_LINES, f"{key} fits again: delete its row"


SCRIPTS = sorted([*(ROOT / "broker/store/lua").glob("*.lua"), *(ROOT / "cluster/lua").glob("*.lua")])


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_every_script_says_what_it_takes_and_gives(path: Path) -> None:
    text = path.read_text()
    header = text.split("\n\n")[0]
    if text.startswith("#!lua"):
        for word in ("KEYS", "ARGV", "RETURNS"):
            assert word in header, f"the header does not list {word}"
    else:
        assert header.startswith("--"), "a fragment says what it is for"
    body = re.sub(r"--[^\n]*", "", text)
    assert "'hr:" not in body, "a script builds no key"
    assert '"hr:' not in body, "a script builds no key"


def test_names_say_what_a_file_is() -> None:
    vague = {"manager", "helper", "helpers", "utils", "util", "common", "misc"}
    assert not [relative(p) for p in sources() if p.stem in vague]


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a machine and no host of a package registry, in any file that is kept."""
    words = [
        "/wo" + "rk/",
        "/ro" + "ot/",
        "registry.npm" + "js.org",
        "files.python" + "hosted.org",
        "pypi.o" + "rg/simple",
    ]
    kept = {".py", ".lua", ".md", ".toml", ".yml", ".yaml", ".json", ".ts", ".js", ".html", ".css", ".sh", ""}
    skipped = {".git", ".venv", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "dist"}
    for path in ROOT.rglob("*"):
        if skipped & set(path.relative_to(ROOT).parts) or path.suffix not in kept or not path.is_file():
            continue
        text = path.read_text(errors="ignore")
        assert not [word for word in words if word in text], relative(path)
