"""`headrace bench fanout | publish | subscribe | connections | post | many | herd`.

Each prints a table to stderr and one line of JSON to stdout.
"""

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from bench.processes import raise_file_limit
from bench.report import Report
from bench.report import publish as print_report

app = typer.Typer(
    help="Measure a node of its own against the bare work, in the same run.", no_args_is_help=True, add_completion=False
)

Json = Annotated[bool, typer.Option("--json", help="Print the JSON line only.")]
Size = Annotated[int, typer.Option(min=32, max=60_000, help="Payload bytes.")]
Seconds = Annotated[float, typer.Option(min=1, max=120, help="How long each measurement runs.")]


@app.command()
def fanout(
    sockets: Annotated[int, typer.Option(min=1, max=10_000)] = 500,
    size: Size = 128,
    rate: Annotated[float, typer.Option(min=1, help="Messages a second of the steady run.")] = 1000,
    seconds: Seconds = 6,
    json: Json = False,
) -> None:
    """One publisher, many sockets: cpu a delivery, and the highest rate without a growing backlog."""
    from bench.fanout import fanout as measure

    _finish(measure(sockets=sockets, size=size, rate=rate, seconds=seconds), json)


@app.command()
def publish(size: Size = 128, seconds: Seconds = 5, json: Json = False) -> None:
    """Acknowledged publishes over one realtime connection and over HTTP, one message a request."""
    from bench.publish import publish as measure

    _finish(measure(size=size, seconds=seconds), json)


@app.command()
def subscribe(
    size: Size = 128,
    seconds: Seconds = 5,
    backlog: Annotated[int, typer.Option(min=1000, max=900_000, help="Messages to pull.")] = 200_000,
    pending: Annotated[int, typer.Option(min=1000, max=240_000, help="Leases that a pull must not feel.")] = 200_000,
    json: Json = False,
) -> None:
    """Batches of 100 over HTTP against the bare scripts; many subscriptions; many pending leases."""
    from bench.subscribe import subscribe as measure

    _finish(measure(size=size, seconds=seconds, backlog=backlog, pending=pending), json)


@app.command()
def connections(count: Annotated[int, typer.Option(min=100, max=25_000)] = 10_000, json: Json = False) -> None:
    """Resident memory of idle connections with one subscription each."""
    from bench.connections import connections as measure

    _finish(measure(count=count), json)


@app.command()
def post(
    size: Size = 128,
    seconds: Seconds = 5,
    sockets: Annotated[int, typer.Option(min=1, max=10_000, help="API Gateway connections.")] = 64,
    json: Json = False,
) -> None:
    """Signed posts to API Gateway connections, through their node and through another, against HTTP publishing."""
    from bench.post import post as measure

    _finish(measure(size=size, seconds=seconds, sockets=sockets), json)


@app.command()
def many(
    count: Annotated[int, typer.Option(min=100, max=15_000, help="API Gateway connections.")] = 10_000,
    size: Size = 128,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Messages to all of them.")] = 30,
    json: Json = False,
) -> None:
    """One call that posts to many API Gateway connections, against the fan-out of one message."""
    from bench.many import many as measure

    _finish(measure(count=count, size=size, rounds=rounds), json)


@app.command()
def herd(
    clients: Annotated[int, typer.Option(min=100, max=1_000_000)] = 100_000,
    accept_per_second: Annotated[float, typer.Option(min=1, help="New connections that each node takes.")] = 5000,
    plot: Annotated[Path | None, typer.Option(help="Where to put a drawing (SVG).")] = None,
    json: Json = False,
) -> None:
    """Simulate how a herd comes back, by our policy and by others' documented delays. Takes minutes."""
    from bench.herd import herd as simulate

    sys.exit(print_report(simulate(clients=clients, accept_per_second=accept_per_second, plot=plot), json_only=json))


def _finish(measured: Coroutine[Any, Any, Report], json_only: bool) -> None:
    raise_file_limit()
    sys.exit(print_report(uvloop.run(measured), json_only=json_only))


def main() -> None:
    app()
