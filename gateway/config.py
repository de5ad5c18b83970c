"""The node's configuration: one frozen object, read once from flags, environment and TOML (in that order of weight).

Only this file reads the environment. Secrets are `Secret`s: they never show in a `repr`, a log or a traceback.
`docs/configuration.md` is for the operator; `headrace config check` prints `explain`.
"""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.catalog import AutoCreate, CatalogDefaults
from broker.store.base import Retention
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.channel.settings import Channel
from gateway.checks import contradictions
from gateway.entitlement import MigratoryData
from gateway.options import (
    ENVIRONMENT_PREFIX,
    ConfigError,
    Mistake,
    Mistakes,
    Option,
    Secret,
    describe,
    flatten,
    line_of,
    lines_of_tables,
    nearest,
    option,
    options_of,
    read_value,
)
from gateway.quotas import ProjectDefaults
from gateway.sections import Auth, Embedded, Limits, Log, Push, RetentionDefaults
from gateway.x509 import X509

__all__ = ["Auth", "Config", "ConfigError", "Embedded", "Limits", "Log", "Mistake", "Secret", "explain", "load"]

MAX_FILE_BYTES = 1024 * 1024

FILE_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"

_CLIENT_VARIABLES = {"HEADRACE_TOKEN", "HEADRACE_SERVER", "HEADRACE_SERVERS", "HEADRACE_URL", FILE_VARIABLE}
"""Read by the command line's clients; not options of a node."""

_SERVICE_LINK = re.compile(r"HEADRACE_(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_\w+)?")
"""What Kubernetes sets in every pod beside a service called `headrace...`, HEADRACE_PORT=tcp://... among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    host: str = option("127.0.0.1", "The address to listen on.")
    port: int = option(8080, "The port to listen on; 0 takes a free one.", least=0, most=65_535)
    redis: Secret | None = option(
        None, "Topology URL (redis://, rediss://, redis+sentinel://, redis+cluster://); empty: the embedded engine."
    )
    data: str = option("headrace-data", "Directory of the embedded engine and of the secrets made for it.")
    name: str = option("", "The node's name; generated when empty.")
    advertise: str = option("", "The URL that clients reach this node by; from host and port when empty.")
    tls_cert: str = option(
        "", "PEM file of the node's certificate chain: it serves https and wss. Reloaded when it changes."
    )
    tls_key: str = option("", "PEM file of the certificate's key, without a passphrase.")
    weight: int = option(
        1, "This node's share of new clients; 0: a last resort, for when no other node answers.", least=0, most=1000
    )
    lease_seconds: float = option(
        5,
        "How long a node that is not heard of counts as there, and keeps its duties; the same on every node.",
        least=1,
        most=60,
    )
    drain_seconds: float = option(
        25,
        "In how many seconds a node that is asked to end has done so, its clients moved to others; 0: at once.",
        least=0,
        most=3600,
    )
    prefix: str = option("hr", "What every key and channel in Redis begins with.")
    service_token: Secret | None = option(None, "The operator's token. Made and kept in embedded mode.")
    secret_key: Secret | None = option(
        None, "What tokens are signed with and secrets encrypted with. Made and kept in embedded mode."
    )
    secret_key_old: Secret | None = option(
        None, "The secret key before: its tokens still count, and what it encrypted is encrypted again."
    )
    per_resource_auth: bool = option(
        True, "ARGO's publishers and consumers must stand in the access list of the topic or subscription too."
    )
    allowed_origins: tuple[str, ...] = option(
        (), "Origins of web pages (scheme://host:port) that may use this node, besides its own."
    )
    auto_create: AutoCreate | None = option(
        None, "Where first use creates a topic: all, default, none; empty: all in embedded mode, else default."
    )
    limits: Limits = field(default_factory=Limits)
    auth: Auth = field(default_factory=Auth)
    retention: RetentionDefaults = field(default_factory=RetentionDefaults)
    projects: ProjectDefaults = field(default_factory=ProjectDefaults)
    push: Push = field(default_factory=Push)
    channel: Channel = field(default_factory=Channel)
    x509: X509 = field(default_factory=X509)
    apigateway: ApiGateway = field(default_factory=ApiGateway)
    migratorydata: MigratoryData = field(default_factory=MigratoryData)
    embedded: Embedded = field(default_factory=Embedded)
    log: Log = field(default_factory=Log)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each option's value came from, by dotted key; an option that is missing here has its default."""

    @property
    def is_embedded(self) -> bool:
        return self.redis is None

    @property
    def scheme(self) -> str:
        """What the URLs of this node begin with, as it serves them itself."""
        return "https" if self.tls_cert else "http"

    @property
    def catalog_defaults(self) -> CatalogDefaults:
        """The catalog's share of these."""
        kept = self.retention
        auto_create = self.auto_create or (AutoCreate.ALL if self.is_embedded else AutoCreate.DEFAULT)
        retention = Retention(kept.max_messages, kept.max_bytes, kept.max_age_seconds * 1000)
        quotas = self.projects
        return CatalogDefaults(
            retention=retention, auto_create=auto_create, auto_topics=quotas.auto_topics, limits=quotas.limits
        )


OPTIONS = {known.key: known for known in options_of(Config)}
_SECTIONS = sorted({key.partition(".")[0] for key in OPTIONS if "." in key})


def load(
    flags: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration, or raise `ConfigError` with every mistake in it.

    `flags` are by dotted key, None for what was not given. `file` None: what HEADRACE_CONFIG names, if anything.
    """
    environment = os.environ if environment is None else environment
    mistakes: list[Mistake] = []
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    tables: dict[str, list[str]] = {}
    named = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    for layer in (
        _from_file(named, mistakes, tables),
        _from_environment(environment, mistakes),
        _from_flags(flags or {}),
    ):
        for key, given, source in layer:
            known = OPTIONS[key]
            try:
                values[key] = read_value(known, given)
                sources[key] = source
            except Mistakes as several:
                mistakes += several.under(source, tables.get(source, ()))
            except ValueError as error:
                mistakes.append(Mistake(source, f"{error}{describe(known, given)}"))
    config = _build(values, sources)
    mistakes += [Mistake(sources.get(key, key), sentence) for key, sentence in contradictions(config)]
    if mistakes:
        raise ConfigError(mistakes)
    return config


def explain(config: Config) -> list[tuple[str, str, str, str]]:
    """Return (key, value, source, meaning) of every option; of a secret only whether it is set."""
    return [
        (known.key, shown(known, value_of(config, known.key)), config.sources.get(known.key, "default"), known.meaning)
        for known in OPTIONS.values()
    ]


Layer = Iterator[tuple[str, object, str]]


def _from_file(path: Path | None, mistakes: list[Mistake], tables: dict[str, list[str]]) -> Layer:
    """Yield what the file says. In `tables` each list of tables gets the places of its items, by its own."""
    if path is None:
        return
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"the file is longer than {MAX_FILE_BYTES} bytes")
        text = data.decode()
        table = tomllib.loads(text)
    except OSError as error:
        mistakes.append(Mistake(str(path), f"the file cannot be read: {error.strerror}"))
        return
    except ValueError as error:
        mistakes.append(Mistake(str(path), f"the file is not TOML: {error}"))
        return
    for key, given in flatten(table, _SECTIONS).items():
        line = line_of(text, key)
        place = f"{path}{f':{line}' if line else ''} {key}"
        if key in OPTIONS:
            tables[place] = [f"{path}:{line} {key}" for line in lines_of_tables(text, key)]
            yield key, given, place
        else:
            near = nearest(key, [*OPTIONS, *_SECTIONS])
            hint = f"; did you mean {near}?" if near else ""
            mistakes.append(Mistake(place, f"there is no such option{hint}"))


def _from_environment(environment: Mapping[str, str], mistakes: list[Mistake]) -> Layer:
    variables = {known.variable: key for key, known in OPTIONS.items()}
    for name, given in sorted(environment.items()):
        # An empty variable is how compose files say "not given".
        if not given or not name.startswith(ENVIRONMENT_PREFIX) or name in _CLIENT_VARIABLES:
            continue
        if name in variables and not given.startswith("tcp://"):
            yield variables[name], given, name
        elif name not in variables and not _SERVICE_LINK.fullmatch(name):
            # What all have in common would make any name a near one.
            known = {other.removeprefix(ENVIRONMENT_PREFIX): other for other in variables}
            near = nearest(name.removeprefix(ENVIRONMENT_PREFIX), [*known])
            if near:
                mistakes.append(Mistake(name, f"there is no such option; did you mean {known[near]}?"))


def _from_flags(flags: Mapping[str, object]) -> Layer:
    for key, given in flags.items():
        if given is not None:
            yield key, given, "--" + key.replace("_", "-").replace(".", "-")


def _build(values: Mapping[str, object], sources: Mapping[str, str]) -> Config:
    # Each value was read by its option, which made it the type of its field.
    def given(section: str) -> dict[str, Any]:
        return {key.rpartition(".")[2]: value for key, value in values.items() if key.rpartition(".")[0] == section}

    return Config(
        **given(""),
        limits=Limits(**given("limits")),
        auth=Auth(**given("auth")),
        retention=RetentionDefaults(**given("retention")),
        projects=ProjectDefaults(**given("projects")),
        push=Push(**given("push")),
        channel=Channel(**given("channel")),
        x509=X509(**given("x509")),
        apigateway=ApiGateway(**given("apigateway")),
        migratorydata=MigratoryData(**given("migratorydata")),
        embedded=Embedded(**given("embedded")),
        log=Log(**given("log")),
        sources=sources,
    )


def value_of(config: Config, key: str) -> object:
    """Return an option's value by its dotted key."""
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def shown(known: Option, value: object) -> str:
    """Return a value as an operator may see it: of a secret only whether it is set."""
    if known.show is not None and value:
        return known.show(value)
    if known.is_secret:
        return "set" if value else "not set"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
