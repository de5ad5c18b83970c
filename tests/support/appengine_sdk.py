"""Google's SDK for Python 3, installed beside the environment's packages for as long as the tests run.

It pins urllib3 below 2, so it gets a directory of its own, and an application under it a Python of its own.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = (
    "appengine-python-standard==3.1.0",
    "urllib3<2",
    "attrs",
    "frozendict",
    "mock",
    "pytz",
    "ruamel.yaml",
    "six",
)
"""What is imported on the way to a call, of all that it depends on; protobuf is in the environment already."""

INSTALL_SECONDS = 90.0
RUN_SECONDS = 60.0

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "python"


@dataclass(frozen=True)
class Sdk:
    directory: Path

    def run(self, script: str, **env: str) -> str:
        """Run an application and return what it prints; fail where it fails."""
        cleared = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**cleared, "PYTHONPATH": f"{self.directory}{os.pathsep}{CLIENT}", **env},
            capture_output=True,
            check=False,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def installed(directory: Path) -> Sdk:
    """Install it. Where it cannot be had the test is skipped; in CI it fails."""
    sdk = _install(directory)
    if sdk is None:
        assert not os.environ.get("CI"), "appengine-python-standard could not be installed"
        pytest.skip("appengine-python-standard could not be installed")
    return sdk


def _install(directory: Path) -> Sdk | None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        into = [*command, "--target", str(directory), *PACKAGES]
        done = subprocess.run(into, check=False, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return Sdk(directory) if done.returncode == 0 else None
