"""The command line: words and options. What each command does is in `gateway.commands`, imported when it is called.

`headrace --help` and shell completion must be quick, so nothing heavy is imported up here.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.commands.terminal import INTERRUPTED, MISUSED, fail

if TYPE_CHECKING:
    from gateway.commands.target import Target
    from gateway.commands.topics import Api
    from gateway.config import Config

app = typer.Typer(
    help="Headrace, a realtime message broker on Redis: publish, follow, resume without loss.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="List, create, show and delete topics.", no_args_is_help=True)
config_app = typer.Typer(help="The node's configuration.", no_args_is_help=True)
subscriptions_app = typer.Typer(help="Durable subscriptions: make, show, pull and consume.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(config_app, name="config")
app.add_typer(subscriptions_app, name="subscriptions")

Topic = Annotated[str, typer.Argument(help="The topic's full name, PROJECT/TOPIC.", metavar="TOPIC")]
Subscription = Annotated[
    str, typer.Argument(help="The subscription's full name, PROJECT/SUBSCRIPTION.", metavar="SUBSCRIPTION")
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", envvar="HEADRACE_SERVER", help="A node's URL, repeatable. [default: this machine]"),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="HEADRACE_TOKEN", help="The credential. [default: that of the node in --data]"),
]
DataDirectory = Annotated[Path, typer.Option("--data", envvar="HEADRACE_DATA", help="An embedded node's data.")]
Json = Annotated[bool, typer.Option("--json", help="For scripts: JSON, one object a line.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file. [default: HEADRACE_CONFIG]")]

DATA = Path("headrace-data")


@app.command()
def serve(
    *,
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one. [default: 8080]")] = None,
    redis: Annotated[str | None, typer.Option(help="A Redis' URL. [default: an embedded Valkey]")] = None,
    data: Annotated[Path | None, typer.Option(help="The embedded Valkey's data. [default: headrace-data]")] = None,
    name: Annotated[str | None, typer.Option(help="The node's name. [default: made up]")] = None,
    advertise: Annotated[str | None, typer.Option(help="The URL that clients reach this node by.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate chain (PEM): serve https and wss.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key (PEM).")] = None,
) -> None:
    """Run a node. Every option is also HEADRACE_<OPTION> in the environment and a key in the file."""
    from gateway.commands.serving import serve as run
    from gateway.config import load

    flags = {"host": host, "port": port, "redis": redis, "name": name, "advertise": advertise}
    paths = {"data": data, "tls_cert": tls_cert, "tls_key": tls_key}
    given: dict[str, object] = {**flags, **{key: str(path) if path else None for key, path in paths.items()}}
    _exit(run(_load(config, given), read=lambda: load(given, file=config)))


@app.command("pub")
def publish(
    topic: Topic,
    *,
    files: Annotated[list[Path] | None, typer.Option("--file", help="Publish this file as one message.")] = None,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="Each message is a JSON value.")] = False,
    binary: Annotated[bool, typer.Option("--binary", help="Bytes, even where they are UTF-8.")] = False,
    attributes: Annotated[list[str] | None, typer.Option("--attribute", help="NAME=VALUE, on every message.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds a message is tried for.")] = 30.0,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """Publish the lines of standard input, or whole files, in order."""
    from gateway.commands import publishing

    if json_lines and binary:
        fail("--json-lines and --binary exclude each other.", MISUSED)
    kind: publishing.Kind = "json" if json_lines else "binary" if binary else "auto"
    job = publishing.Job(topic, kind, _attributes(attributes or []), timeout)
    _exit(_run(_publish(_target(servers, token, data), job, files or [], as_json=json)))


async def _publish(target: "Target", job: Any, files: list[Path], *, as_json: bool) -> int:
    from gateway.commands import intake, publishing

    source = intake.read_files(files) if files else intake.read_lines(sys.stdin.buffer)
    size = intake.size_of(files) if files else intake.size_of_stream(sys.stdin.buffer)
    try:
        return await publishing.run(target, job, intake.Reader(source), total_bytes=size, as_json=as_json)
    except (OSError, intake.LineTooLong) as error:
        fail(f"the input cannot be read: {error}")


@app.command("sub")
def subscribe(
    topic: Topic,
    *,
    since: Annotated[str, typer.Option(help="now, earliest, last:N, time:MS or EPOCH-OFFSET.")] = "now",
    count: Annotated[int | None, typer.Option(min=0, help="End after so many messages.")] = None,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """Print a topic's messages as they come, each once and in order, over all reconnects."""
    from gateway.commands import following
    from headrace import parse_since

    try:
        request = following.Request(topic, parse_since(since), count, json)
    except ValueError:
        fail(f"--since {since!r} is not one of now, earliest, last:N, time:MS, EPOCH-OFFSET.", MISUSED)
    _exit(_run(following.run(_target(servers, token, data), request)))


@topics_app.command("list")
def topics_list(
    project: Annotated[str, typer.Argument(help="The project's name.")] = "default",
    *,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """List a project's topics, newest first."""
    from gateway.commands import topics

    topics.show_list(_api(servers, token, data), project, as_json=json)


@topics_app.command("create")
def topics_create(topic: Topic, *, servers: Servers = None, token: Token = None, data: DataDirectory = DATA) -> None:
    """Create a topic."""
    from gateway.commands import topics

    topics.create(_api(servers, token, data), topic)


@topics_app.command("show")
def topics_show(
    topic: Topic, *, servers: Servers = None, token: Token = None, data: DataDirectory = DATA, json: Json = False
) -> None:
    """Show a topic."""
    from gateway.commands import topics

    topics.show_one(_api(servers, token, data), topic, as_json=json)


@topics_app.command("delete")
def topics_delete(topic: Topic, *, servers: Servers = None, token: Token = None, data: DataDirectory = DATA) -> None:
    """Delete a topic with its messages."""
    from gateway.commands import topics

    topics.delete(_api(servers, token, data), topic)


@subscriptions_app.command("list")
def subscriptions_list(
    project: Annotated[str, typer.Argument(help="The project's name.")] = "default",
    *,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """List a project's subscriptions, newest first."""
    from gateway.commands import subscriptions

    subscriptions.show_list(_api(servers, token, data), project, as_json=json)


@subscriptions_app.command("create")
def subscriptions_create(
    subscription: Subscription,
    *,
    topic: Annotated[str, typer.Option(help="The topic's full name, PROJECT/TOPIC.")],
    shared: Annotated[bool, typer.Option("--shared", help="Many consumers, each message acked by itself.")] = False,
    ack_deadline: Annotated[int | None, typer.Option(min=0, help="Seconds. [default: 10]")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="Then to the dead letters.")] = None,
    dead_letters: Annotated[str | None, typer.Option(help="A topic's full name, PROJECT/TOPIC.")] = None,
    order_by: Annotated[str | None, typer.Option(help="One value of this attribute is in one hand at a time.")] = None,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
) -> None:
    """Make a subscription that begins at its topic's end."""
    from gateway.commands import subscriptions

    wanted = subscriptions.Wanted(
        topic=topic,
        shared=shared,
        ack_deadline_s=ack_deadline,
        max_attempts=max_attempts,
        dead_letter_topic=dead_letters,
        ordering_attribute=order_by,
    )
    subscriptions.create(_api(servers, token, data), subscription, wanted)


@subscriptions_app.command("show")
def subscriptions_show(
    subscription: Subscription,
    *,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """Show a subscription and where it stands."""
    from gateway.commands import subscriptions

    subscriptions.show_one(_api(servers, token, data), subscription, as_json=json)


@subscriptions_app.command("delete")
def subscriptions_delete(
    subscription: Subscription, *, servers: Servers = None, token: Token = None, data: DataDirectory = DATA
) -> None:
    """Delete a subscription; its topic keeps its messages."""
    from gateway.commands import subscriptions

    subscriptions.delete(_api(servers, token, data), subscription)


@subscriptions_app.command("pull")
def subscriptions_pull(
    subscription: Subscription,
    *,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Messages at most.")] = 1,
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledge them once they are printed.")] = False,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """Print the next messages, a line each."""
    from gateway.commands import subscriptions

    api = _api(servers, token, data)
    subscriptions.pull(api, subscription, count=count, acknowledges=ack, as_json=json, out=sys.stdout.buffer)


@subscriptions_app.command("consume")
def subscriptions_consume(
    subscription: Subscription,
    *,
    count: Annotated[int | None, typer.Option(min=0, help="End after so many messages.")] = None,
    window: Annotated[int, typer.Option(min=1, max=1000, help="Messages in hand at once.")] = 100,
    servers: Servers = None,
    token: Token = None,
    data: DataDirectory = DATA,
    json: Json = False,
) -> None:
    """Print what a shared subscription delivers, over all reconnects, and ack it."""
    from gateway.commands import consuming

    request = consuming.Request(subscription, window, count, json)
    _exit(_run(consuming.run(_target(servers, token, data), request)))


@app.command("nodes")
def nodes(*, servers: Servers = None, token: Token = None, data: DataDirectory = DATA, json: Json = False) -> None:
    """List the nodes of the cluster, as the first server that answers sees them; * is that one."""
    from gateway.commands import nodes

    nodes.show(_api(servers, token, data), as_json=json)


@app.command("token")
def mint_token(
    subject: Annotated[str, typer.Argument(help="Whose token it is; stands in logs.")],
    *,
    pub: Annotated[list[str] | None, typer.Option(help="A topic, or a prefix and *, to publish to.")] = None,
    sub: Annotated[list[str] | None, typer.Option(help="A topic, or a prefix and *, to follow.")] = None,
    lifetime: Annotated[str, typer.Option("--expires", help="In how long: 30m, 12h, 7d or seconds.")] = "1h",
    config: ConfigFile = None,
    data: Annotated[Path | None, typer.Option(help="The embedded node's data. [default: headrace-data]")] = None,
) -> None:
    """Mint a token (a JWT signed with the secret key) and print it."""
    from gateway.commands import tokens

    loaded = _load(config, {"data": str(data) if data else None})
    print(tokens.mint(loaded, subject=subject, publish=pub or [], subscribe=sub or [], lifetime=lifetime))


@config_app.command("check")
def config_check(config: ConfigFile = None, json: Json = False) -> None:
    """Read the configuration, name every mistake, and explain every option."""
    from gateway.commands import checking

    checking.show(_load(config, {}), as_json=json)


@config_app.command("presence-secret")
def config_presence_secret(
    config: ConfigFile = None,
    data: Annotated[Path | None, typer.Option(help="The embedded node's data. [default: headrace-data]")] = None,
) -> None:
    """Print the secret with which applications verify what they are told of channels' presence."""
    from gateway.channel.webhooks import derived
    from gateway.commands import presence

    print(presence.secret(_load(config, {"data": str(data) if data else None}), derived))


@app.command(
    "bench",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Measure: fanout, publish or connections."""
    from bench.main import app as bench_app

    bench_app(args=context.args or ["--help"], prog_name="headrace bench")


def main() -> None:
    """The command `headrace`."""
    app()


def _load(file: Path | None, flags: dict[str, object]) -> "Config":
    from gateway.config import ConfigError, load

    try:
        return load(flags, file=file)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(f"headrace: {mistake}", file=sys.stderr)
        raise typer.Exit(MISUSED) from None


def _target(servers: list[str] | None, token: str | None, data: Path) -> "Target":
    from gateway.commands.target import find

    return find(servers or [], token, data=data)


def _api(servers: list[str] | None, token: str | None, data: Path) -> "Api":
    from gateway.commands.topics import Api

    return Api(_target(servers, token, data))


def _attributes(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            fail(f"--attribute {pair!r} is not NAME=VALUE.", MISUSED)
        found[name] = value
    return found


def _run(work: Coroutine[Any, Any, int]) -> int:
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except KeyboardInterrupt:
        return INTERRUPTED


def _exit(status: int) -> NoReturn:
    raise typer.Exit(status)
