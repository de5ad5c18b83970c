"""The JavaScript client's own tests against a real node."""

import os
import shutil
import subprocess
from pathlib import Path

import nodes
import pytest

PACKAGE = Path(__file__).parents[3] / "clients" / "js"
PATIENCE_S = 120


def test_the_javascript_client_publishes_follows_and_consumes() -> None:
    program = shutil.which("node")
    if program is None or not (PACKAGE / "dist" / "node.js").exists():
        reason = "Node.js, or the built package (npm test), is missing"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with nodes.node() as node:
        ended = subprocess.run(
            [program, "--test", "tests/node.test.js"],
            check=False,
            cwd=PACKAGE,
            env={**os.environ, "HEADRACE_URL": node.url, "HEADRACE_TOKEN": node.token},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "# skipped 0" in ended.stdout
