"""The two secrets of an embedded node: made at its first start, kept with its data, readable by its owner alone."""

import os
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path

from gateway.config import Config, ConfigError, Mistake, Secret

SECRET_BYTES = 32

MAX_FILE_BYTES = 4096

SERVICE_TOKEN_FILE = "service-token"
SECRET_KEY_FILE = "secret-key"


def with_kept_secrets(config: Config) -> Config:
    """Return the configuration with both secrets set, from itself or from the data directory, where they are made once.

    For embedded mode; with `redis` the configuration must have brought them. Raises `ConfigError`.
    """
    if not config.is_embedded:
        return config
    directory = Path(config.data)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return replace(
            config,
            service_token=config.service_token or _kept(directory / SERVICE_TOKEN_FILE),
            secret_key=config.secret_key or _kept(directory / SECRET_KEY_FILE),
        )
    except OSError as error:
        place = str(error.filename or directory)
        raise ConfigError([Mistake(place, f"the secret cannot be kept: {error.strerror}")]) from None


def _kept(path: Path) -> Secret:
    """Return the file's secret. Two nodes that start at once get the same one: the file appears complete, or not."""
    if not path.exists():
        _make(path)
    # Its owner may have copied it about with a wider mode.
    path.chmod(0o600)
    with path.open(encoding="ascii", errors="replace") as opened:
        value = opened.read(MAX_FILE_BYTES).strip()
    if len(value) < SECRET_BYTES or not value.isascii():
        raise ConfigError([Mistake(str(path), "this file should hold a secret and does not; restore it, or delete it")])
    return Secret(value)


def _make(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(SECRET_BYTES) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        # A link fails where the name is taken: whoever was first has made the secret.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink(missing_ok=True)
