"""`headrace serve`: run a node, and say what a newcomer needs next."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gateway import logs
from gateway.commands.terminal import FAILED, MISUSED, note
from gateway.config import Config, ConfigError
from gateway.metrics import node_version
from gateway.secrets import SERVICE_TOKEN_FILE, with_kept_secrets
from gateway.sections import LogFormat

STYLES: dict[LogFormat, logs.Style | None] = {
    LogFormat.AUTO: None,
    LogFormat.PLAIN: "plain",
    LogFormat.JSON: "json",
}

DEMO_TOPIC = "default/demo"
DEFAULT_PORT = 8080
DEFAULT_DATA = "headrace-data"


def serve(config: Config, *, read: Callable[[], Config]) -> int:
    """Run the node until it is told to stop; returns the exit status. `read` reads the configuration again."""
    import uvloop

    # Heavy (FastAPI, uvicorn): not before a configuration holds.
    from gateway.__main__ import run_node
    from gateway.server import BindError, bind

    try:
        config = with_kept_secrets(config)
        listener = bind(config.host, config.port)
    except ConfigError as error:
        note(f"headrace: {error}")
        return MISUSED
    except BindError as error:
        note(f"headrace: cannot listen on {error}")
        return FAILED
    _configure_logs(config)
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        read_again = partial(_read_again, read)
        return runner.run(run_node(config, listener, on_listening=_greet, read=read_again))


def _read_again(read: Callable[[], Config]) -> Config:
    return with_kept_secrets(read())


def _configure_logs(config: Config) -> None:
    style = STYLES[config.log.format]
    kept = (config.service_token, config.secret_key, config.secret_key_old)
    secrets = [secret.value for secret in kept if secret]
    logs.configure(style=style, level=config.log.level.value.upper(), secrets=secrets)


def url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """Return the URL under which this machine reaches a node that listens on `host`."""
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _greet(config: Config) -> None:
    print(greeting(config, command=command_name()), flush=True)


def greeting(config: Config, *, command: str) -> str:
    """Return what a node prints once it serves: addresses, token, and two lines to try.

    The token stands alone, never in a URL: URLs end in histories and logs.
    """
    url = url_of(config.host, config.port, scheme=config.scheme)
    options = _client_options(config, url)
    rows = [("page", f"{url}/"), ("reference", f"{url}/docs")]
    if config.is_embedded:
        data = Path(config.data).absolute()
        rows.append(("data", str(data)))
        if config.service_token:
            rows.append(("token", f"{config.service_token.value}  (kept in {data / SERVICE_TOKEN_FILE})"))
    else:
        options += " --token ..."
    lines = [f"Headrace {node_version()}, node {config.name}", ""]
    lines += [f"  {label:<10} {value}" for label, value in rows]
    lines += ["", "Try it in two more terminals:", ""]
    lines += [f"  {command} sub {DEMO_TOPIC}{options}", f"  echo hello | {command} pub {DEMO_TOPIC}{options}", ""]
    return "\n".join(lines)


def _client_options(config: Config, url: str) -> str:
    """Return what `pub` and `sub` must be told to find this node, nothing where the defaults do."""
    options = "" if url == f"http://127.0.0.1:{DEFAULT_PORT}" else f" --server {url}"
    if config.is_embedded and config.data != DEFAULT_DATA:
        options += f" --data {Path(config.data).absolute()}"
    return options


def command_name() -> str:
    """Return how this command is typed from here: its name where the PATH has it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("headrace")
    if found and Path(found).resolve() == called.resolve():
        return "headrace"
    return os.path.relpath(called) if called.exists() else "headrace"
