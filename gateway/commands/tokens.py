"""`headrace token`: a JWT that every node with the same secret key accepts."""

import re
import time
from collections.abc import Sequence

from broker.errors import HeadraceError
from gateway.auth import token_rules
from gateway.commands.terminal import MISUSED, fail
from gateway.config import Config, ConfigError
from gateway.secrets import with_kept_secrets
from gateway.tokens import mint as mint_jwt

_LIFETIME = re.compile(r"(\d{1,9})([smhd]?)")
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_lifetime(text: str) -> int:
    """Return seconds of `90`, `90s`, `30m`, `12h` or `7d`, or end the command."""
    found = _LIFETIME.fullmatch(text)
    if found is None:
        fail(f"--expires {text!r} is not a time: write 30m, 12h, 7d or a number of seconds.", MISUSED)
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def mint(config: Config, *, subject: str, publish: Sequence[str], subscribe: Sequence[str], lifetime: str) -> str:
    """Return the token, or end the command with what is wrong."""
    try:
        secret_key = with_kept_secrets(config).secret_key
    except ConfigError as error:
        fail(str(error), MISUSED)
    if secret_key is None:
        fail("a secret key is needed: set HEADRACE_SECRET_KEY to that of the nodes.", MISUSED)
    try:
        return mint_jwt(
            secret_key,
            subject=subject,
            publish=publish,
            subscribe=subscribe,
            lifetime_seconds=read_lifetime(lifetime),
            now_ms=int(time.time() * 1000),
            rules=token_rules(config),
        )
    except HeadraceError as refusal:
        fail(str(refusal), MISUSED)
