"""`headrace config presence-secret`: what applications verify presence with, given or derived."""

from collections.abc import Callable

from gateway.commands.terminal import MISUSED, fail
from gateway.config import Config, ConfigError
from gateway.options import Secret
from gateway.secrets import with_kept_secrets


def secret(config: Config, derived: Callable[[Secret], str]) -> str:
    """Return the secret under which nodes of this configuration sign, or end the command with what is wrong.

    `derived` makes it of the secret key, for nodes that were given none.
    """
    if config.channel.presence_secret is not None:
        return config.channel.presence_secret.value
    try:
        key = with_kept_secrets(config).secret_key
    except ConfigError as error:
        fail(str(error), MISUSED)
    if key is None:
        fail("a secret key is needed: set HEADRACE_SECRET_KEY to that of the nodes.", MISUSED)
    return derived(key)
