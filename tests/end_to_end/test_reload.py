"""SIGHUP to a running node: what its callers notice, and what its log says."""

import os
import signal
from pathlib import Path

import httpx
import nodes
from servers import eventually

ORIGIN = {"origin": "https://app.example.com"}


def test_a_node_takes_up_a_changed_file_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text('prefix = "hr"\n')
    with nodes.node(options=("--config", str(file))) as node:

        def status() -> int:
            return httpx.get(f"{node.url}/v1/projects", headers={**node.headers, **ORIGIN}).status_code

        assert status() == 403
        file.write_text('prefix = "other"\nallowed_origins = ["https://app.example.com"]\n[log]\nlevel = "debug"\n')
        os.kill(node.pid, signal.SIGHUP)
        eventually(lambda: status() == 200, what="the new origin")
        assert "configuration: prefix: 'hr' -> 'other'; this takes effect at the next start" in node.log
        assert "configuration: log.level: 'info' -> 'debug'" in node.log
        file.write_text("prefix = [\n")
        os.kill(node.pid, signal.SIGHUP)
        eventually(lambda: "the configuration is kept as it was" in node.log)
        assert status() == 200
        assert node.terminate() == 0
