"""The `[apigateway]` section: APIs with their stages and routes, and the credentials that sign calls.

Everything is read and checked at start; every mistake is told at once, with its place in the table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.apigateway.configuration.definitions import Api, Credential
from gateway.apigateway.configuration.reading import read_api, read_credential, read_domain
from gateway.options import Mistake, Mistakes, option
from gateway.tables import quoted, read_listed

MAX_APIS = 100
MAX_CREDENTIALS = 1000


def read_apis(given: object) -> tuple[Api, ...]:
    """Read the APIs: a list of tables, or the same as JSON. Raises `Mistakes`."""
    apis = read_listed(given, read_api, most=MAX_APIS, called="APIs {name, stage, routes, integrations, ...}")
    mistakes: list[Mistake] = []
    names: dict[str, str] = {}
    for api in apis:
        if api.name in names:
            mistakes.append(Mistake(quoted(api.name), "two APIs have this name"))
        for stage in api.stages:
            if stage.path in names:
                where = names[stage.path]
                mistakes.append(
                    Mistake(quoted(api.name), f"{where} is at the path {stage.path} too; give one of them another path")
                )
            names[stage.path] = f"stage {stage.name} of {api.name}"
        names[api.name] = api.name
    if mistakes:
        raise Mistakes(mistakes)
    return apis


def read_credentials(given: object) -> tuple[Credential, ...]:
    """Read the credentials: a list of tables, or the same as JSON. Raises `Mistakes`, without any secret."""
    called = "credentials {access_key, secret, policy}"
    credentials = read_listed(given, read_credential, most=MAX_CREDENTIALS, called=called, named_by="access_key")
    keys = [credential.access_key for credential in credentials]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise Mistakes([Mistake(quoted(key), "two credentials have this access_key") for key in twice])
    return credentials


def _read_region(given: object) -> str:
    if not isinstance(given, str) or not re.fullmatch(r"[a-z0-9-]{1,32}", given):
        raise ValueError("this must be a region such as us-east-1")
    return given


def _read_account(given: object) -> str:
    if not isinstance(given, str) or not re.fullmatch(r"[0-9]{12}", given):
        raise ValueError("this must be a text of 12 digits")
    return given


def _shown_apis(apis: Sequence[Api]) -> str:
    return "; ".join(f"{api.name} at {', '.join(stage.path for stage in api.stages)}" for api in apis)


def _shown_credentials(credentials: Sequence[Credential]) -> str:
    return ", ".join(credential.access_key for credential in credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiGateway:
    """The options of this room."""

    open: bool = option(
        False, "Ask for no signature: whoever reaches the node may post to, look at and close any connection."
    )
    unsigned_payload: bool = option(False, "Take calls that say UNSIGNED-PAYLOAD: signed, except for what they post.")
    domain: str = option(
        "", "What events call domainName, host:port; empty: what the node advertises.", read=read_domain, show=str
    )
    check_origin: bool = option(
        False, "Refuse handshakes from pages of foreign origins, as on the node's other paths; AWS lets all pages in."
    )
    region: str = option("us-east-1", "The region in ARNs.", read=_read_region, show=str)
    account: str = option("000000000000", "The account in ARNs, 12 digits.", read=_read_account, show=str)
    apis: tuple[Api, ...] = option(
        (), "WebSocket APIs: list of {name, stage, routes, ...}.", read=read_apis, show=_shown_apis
    )
    credentials: tuple[Credential, ...] = option(
        (),
        "Access keys of the management API: list of {access_key, secret, policy}.",
        read=read_credentials,
        show=_shown_credentials,
    )
