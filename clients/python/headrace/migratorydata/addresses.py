"""The server list: `host:port`, or `weight host:port`, as MigratoryData's clients are given it. Pure."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from headrace.failover import Server, checked_server
from headrace.migratorydata.errors import MigratoryDataException

DEFAULT_WEIGHT = 100
MAX_WEIGHT = 100

USUAL_WEIGHT = 100.0
"""What a node advertises as 1."""

MAX_SERVERS = 100


def parse_servers(servers: object, *, encrypted: bool = False) -> list[Server]:
    """Return the servers of a list, or raise `MigratoryDataException` with E_INVALID_URL_LIST.

    An item may be a URL (http, https, ws, wss) too; one without a scheme is reached as `encrypted` says. Weights are
    0 to 100, 0 is a last resort.
    """
    if isinstance(servers, str) or not isinstance(servers, Iterable):
        raise _invalid("The servers are a list of 'host:port' or 'weight host:port'.")
    found = [_parse(item, encrypted=encrypted) for item in servers]
    if not 1 <= len(found) <= MAX_SERVERS:
        raise _invalid(f"A list holds 1 to {MAX_SERVERS} servers.")
    return found


def _parse(item: object, *, encrypted: bool) -> Server:
    if not isinstance(item, str):
        raise _invalid("A server is a string.")
    weight, _, address = item.strip().rpartition(" ")
    if weight and not (weight.strip().isascii() and weight.strip().isdigit() and int(weight) <= MAX_WEIGHT):
        raise _invalid(f"A weight is an integer from 0 to {MAX_WEIGHT}: {item[:80]!r}.")
    try:
        url = checked_server(address if "://" in address else f"{'https' if encrypted else 'http'}://{address}")
        is_whole = urlsplit(url).port is not None or "://" in address
    except ValueError:
        is_whole = False
    if not is_whole:
        raise _invalid(f"A server is host:port or a URL: {item[:80]!r}.")
    return Server(url, (int(weight) if weight else DEFAULT_WEIGHT) / USUAL_WEIGHT)


def _invalid(detail: str) -> MigratoryDataException:
    return MigratoryDataException(MigratoryDataException.E_INVALID_URL_LIST, detail)
