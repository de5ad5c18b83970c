"""SIGHUP: the configuration is read again, and what may change under way changes. What may not is said.

An option is live when all that depends on it asks for it each time it is used. The others stand in sockets, keys and
tasks that were made by them; for those the node has to be restarted.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.config import OPTIONS, Config, ConfigError, shown, value_of

LIVE = (
    "allowed_origins",
    "auth.",
    "auto_create",
    "log.level",
    "projects.",
    "retention.",
    "tls_cert",
    "tls_key",
    "weight",
)
"""Options that take effect without a restart; one that ends with a dot is a whole section."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One option whose value is another now. Of a secret no value is told."""

    key: str
    before: str
    after: str
    is_live: bool

    def __str__(self) -> str:
        told = f"{self.key} changed" if self.before == self.after else f"{self.key}: {self.before!a} -> {self.after!a}"
        return told if self.is_live else f"{told}; this takes effect at the next start"


def changes(before: Config, after: Config) -> list[Change]:
    """Return what differs, in the order of the options."""
    return [
        Change(key, shown(option, value_of(before, key)), shown(option, value_of(after, key)), is_live(key))
        for key, option in OPTIONS.items()
        if value_of(before, key) != value_of(after, key)
    ]


def is_live(key: str) -> bool:
    return any(key == live or (live.endswith(".") and key.startswith(live)) for live in LIVE)


def with_options(config: Config, source: Config, keys: Iterable[str]) -> Config:
    """Return `config` with the options `keys` as they are in `source`."""
    for key in keys:
        section, _, name = key.rpartition(".")
        # An option's value has the type of its field, in whichever configuration it stands.
        changed: dict[str, Any] = {name: value_of(source, key)}
        if section:
            changed = {section: dataclasses.replace(getattr(config, section), **changed)}
        config = dataclasses.replace(config, **changed)
    return config


class Reloading:
    """`reload` is called at each SIGHUP."""

    def __init__(
        self, in_force: Config, *, given: Config, read: Callable[[], Config], apply: Callable[[Config], None]
    ) -> None:
        """`given` is the configuration that was read, `in_force` what was made of it (a name, a port).

        `read` reads it again, or raises `ConfigError`; `apply` puts into force a configuration whose live options alone
        differ from `in_force`.
        """
        self._in_force = in_force
        self._given = given
        self._read = read
        self._apply = apply

    def reload(self) -> None:
        """Never raises: a node does not end for a mistake in a file that it runs without."""
        try:
            after = self._read()
        except ConfigError as error:
            for mistake in error.mistakes:
                log.error("the configuration is kept as it was: %s", mistake)
            return
        found = changes(self._given, after)
        for change in found:
            log.log(logging.INFO if change.is_live else logging.WARNING, "configuration: %s", change)
        if not found:
            log.info("configuration: nothing changed")
        live = [change.key for change in found if change.is_live]
        wanted = with_options(self._in_force, after, live)
        try:
            # Also when nothing changed: files that options name may hold something else.
            self._apply(wanted)
        except Exception:
            log.exception("the configuration could not be put into force")
            return
        # What waits for a restart stays in the comparison, and is said again the next time.
        self._in_force, self._given = wanted, with_options(self._given, after, live)
