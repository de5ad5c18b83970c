"""Request parameters: what an `http_proxy` is sent besides the message, from request, stage and context. Pure.

    integration.request.header.connectionId = context.connectionId

Sources (contracts/apigateway 9): `route.request.header.N`, `...querystring.N`, `...multivalueheader.N`,
`...multivaluequerystring.N` (they have values for `$connect` only), `route.request.body`, `route.request.body.PATH`,
`stageVariables.N`, `context.N` and `'literal'`. What has no value is not sent.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import orjson

from gateway.apigateway.application.selection import path_of
from gateway.options import Mistake, Mistakes
from gateway.tables import unknown

MAX_PARAMETERS = 100
"""Of one integration."""

MAX_SOURCE_CHARS = 1024

CONTEXT = (
    "apiId",
    "authorizer",
    "connectedAt",
    "connectionId",
    "disconnectReason",
    "disconnectStatusCode",
    "domainName",
    "eventType",
    "extendedRequestId",
    "identity",
    "messageDirection",
    "messageId",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "routeKey",
    "stage",
)
"""The members that an event's requestContext may have (contracts/apigateway 10)."""

_TARGET = re.compile(r"integration\.request\.(header|querystring|path)\.([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128})")

_IN_BRACES = re.compile(r"(?<!\$)\{([^{}]*)\}")

_SLOT = re.compile(r"\$\{([^{}]*)\}")

_OWN_HEADERS = {"host", "content-length", "connection", "transfer-encoding", "upgrade", "te", "trailer"}
"""Those of the connection itself, which no message may choose."""

Pairs = Sequence[tuple[str, str]]


class Place(StrEnum):
    HEADER = "header"
    QUERYSTRING = "querystring"
    PATH = "path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What values come from. `context` is the event's requestContext."""

    headers: Pairs = ()
    query: Pairs = ()
    body: str = ""
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One mapped parameter: where it goes, and how it is found."""

    place: Place
    name: str
    source: str

    def values(self, sources: Sources) -> list[str]:
        return read_source(self.source)(sources)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A request's URL and headers with their parameters in place."""

    url: str
    headers: tuple[tuple[str, str], ...]


def read_parameters(given: object) -> tuple[Parameter, ...]:
    """Read a table of target to source. Raises `Mistakes`."""
    if not isinstance(given, Mapping) or len(given) > MAX_PARAMETERS:
        raise ValueError(f"this must be a table of at most {MAX_PARAMETERS} targets and sources")
    mistakes: list[Mistake] = []
    found: list[Parameter] = []
    for target, source in given.items():
        try:
            found.append(_parameter(target, source))
        except ValueError as error:
            mistakes.append(Mistake(f'"{target}"', str(error)))
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(found)


def _parameter(target: object, source: object) -> Parameter:
    parsed = _TARGET.fullmatch(target) if isinstance(target, str) else None
    if parsed is None:
        raise ValueError("a target is integration.request.header.NAME, ...querystring.NAME or ...path.NAME")
    place, name = Place(parsed[1]), parsed[2]
    if place is Place.HEADER and name.lower() in _OWN_HEADERS:
        raise ValueError(f"the header {name} belongs to the connection")
    if not isinstance(source, str) or len(source) > MAX_SOURCE_CHARS:
        raise ValueError(f"a source is a text of at most {MAX_SOURCE_CHARS} characters")
    read_source(source)
    return Parameter(place, name, source)


def read_source(source: str) -> Callable[[Sources], list[str]]:
    """Return what finds the values of a source. Raises `ValueError` where there is no such source."""
    if len(source) >= 2 and source[0] == source[-1] == "'":
        return lambda _: [source[1:-1]]
    if source == "route.request.body":
        return lambda sources: [sources.body] if sources.body else []
    for prefix, reader in _READERS.items():
        name = source.removeprefix(prefix)
        if name != source and name:
            return reader(name)
    raise ValueError(
        "a source is route.request.header.N, route.request.querystring.N, route.request.body.PATH, stageVariables.N, "
        "context.N or 'a literal'"
    )


def path_names(url: str) -> set[str]:
    """Return what stands in braces in a URL: the places of path parameters."""
    return set(_IN_BRACES.findall(url))


def names_in(parameters: Iterable[Parameter], place: Place) -> set[str]:
    """Return the names of the parameters that go to `place`."""
    return {parameter.name for parameter in parameters if parameter.place is place}


def _last_header(name: str) -> Callable[[Sources], list[str]]:
    return lambda sources: _named(sources.headers, name, str.lower)[-1:]


def _every_header(name: str) -> Callable[[Sources], list[str]]:
    return lambda sources: _named(sources.headers, name, str.lower)


def _last_query(name: str) -> Callable[[Sources], list[str]]:
    return lambda sources: _named(sources.query, name, str)[-1:]


def _every_query(name: str) -> Callable[[Sources], list[str]]:
    return lambda sources: _named(sources.query, name, str)


def _from_body(text: str) -> Callable[[Sources], list[str]]:
    path = path_of(f"request.body.{text}")
    return lambda sources: _found(path.find(parsed_body(sources.body)))


def _from_context(text: str) -> Callable[[Sources], list[str]]:
    path = path_of(f"request.body.{text}")
    name = path.steps[0]
    if name not in CONTEXT:
        raise ValueError(unknown(str(name), list(CONTEXT), f"an event's context has no {str(name)[:60]!a}").sentence)
    return lambda sources: _found(path.find(sources.context))


def _from_stage(name: str) -> Callable[[Sources], list[str]]:
    return lambda sources: _found(sources.stage_variables.get(name, ""))


def _found(text: str) -> list[str]:
    return [text] if text else []


_READERS: dict[str, Callable[[str], Callable[[Sources], list[str]]]] = {
    "route.request.header.": _last_header,
    "route.request.multivalueheader.": _every_header,
    "route.request.querystring.": _last_query,
    "route.request.multivaluequerystring.": _every_query,
    "route.request.body.": _from_body,
    "stageVariables.": _from_stage,
    "context.": _from_context,
}


def _named(pairs: Pairs, name: str, fold: Callable[[str], str]) -> list[str]:
    return [value for given, value in pairs if fold(given) == fold(name)]


def values_of(source: str, sources: Sources) -> list[str]:
    """Return the values of a source, none where it has no value. Raises `ValueError` where there is no such source."""
    return read_source(source)(sources)


def parsed_body(body: str) -> object:
    """Return a message's JSON; an object without members where it is none, which has nothing to be found."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}


@dataclass(frozen=True, slots=True)
class Template:
    """A text with sources in it: `{"pong": "${context.connectionId}"}`. Every other one of `parts` is a source."""

    parts: tuple[str, ...]

    def fill(self, sources: Sources) -> str:
        """Return the text with what each source is, escaped as inside a JSON text; nothing where it has no value."""
        return "".join(part if at % 2 == 0 else _escaped(part, sources) for at, part in enumerate(self.parts))


def read_template(given: object) -> Template:
    """Read a template. Raises `ValueError`."""
    if not isinstance(given, str):
        raise ValueError("this must be a text")
    parts = tuple(_SLOT.split(given))
    for source in parts[1::2]:
        read_source(source)
    return Template(parts)


def _escaped(source: str, sources: Sources) -> str:
    return "".join(orjson.dumps(value).decode()[1:-1] for value in read_source(source)(sources)[:1])


def apply(parameters: Iterable[Parameter], url: str, sources: Sources) -> Mapped:
    """Return the URL and the headers of a request. Raises `ValueError` for a path parameter that has no good value."""
    headers: list[tuple[str, str]] = []
    query: list[tuple[str, str]] = []
    for parameter in parameters:
        values = parameter.values(sources)
        if parameter.place is Place.HEADER:
            headers += [(parameter.name, _header_value(value)) for value in values]
        elif parameter.place is Place.QUERYSTRING:
            query += [(parameter.name, value) for value in values]
        else:
            url = url.replace(f"{{{parameter.name}}}", _segment(values))
    return Mapped(_with_query(url, query), tuple(headers))


def _header_value(value: str) -> str:
    """A line break must not begin another header; beyond ASCII a value travels as UTF-8."""
    plain = "".join(" " if char < " " or char == "\x7f" else char for char in value).strip()
    return plain.encode(errors="replace").decode("latin-1")


def _segment(values: Sequence[str]) -> str:
    if not values or values[0] in ("", ".", ".."):
        raise ValueError("a path parameter has no value, or one that would change the path")
    return quote(values[0], safe="", errors="replace")


def _with_query(url: str, query: Sequence[tuple[str, str]]) -> str:
    if not query:
        return url
    parts = urlsplit(url)
    added = urlencode(query, errors="replace")
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
