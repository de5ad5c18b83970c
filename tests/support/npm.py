"""Packages of npm for tests, installed once into a cache. No npm, no network: skipped at home, failed in CI."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

INSTALL_SECONDS = 180
RUN_SECONDS = 60


def installed(cache: Path, *packages: str) -> Path:
    """Return a folder whose `node_modules` hold `packages` (`name@version`)."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        _missing("Node.js with npm")
    folder = cache / "-".join(package.replace("/", "_") for package in packages)
    if folder.exists():
        return folder
    # Other processes of the same run may want it too: it appears whole, or not at all.
    making = Path(tempfile.mkdtemp(dir=cache))
    command = [str(npm), "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(making), *packages]
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        _missing(f"{packages} from npm: it takes too long")
    if ended.returncode:
        _missing(f"{packages} from npm: {ended.stderr[-500:]}")
    try:
        making.rename(folder)
    except OSError:
        shutil.rmtree(making)
    return folder


def run(folder: Path, script: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a CommonJS script that requires what is in `folder`; return what it printed."""
    ended = subprocess.run(
        ["node", str(script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env={**os.environ, "NODE_PATH": str(folder / "node_modules"), "NODE_NO_WARNINGS": "1", **environment},
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"missing {what}")
    pytest.skip(f"missing {what}")
