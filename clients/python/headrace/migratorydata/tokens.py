"""Entitlement tokens, as they travel. Pure."""

from headrace.migratorydata.errors import MigratoryDataException


def check_token(token: object) -> None:
    """Raise `MigratoryDataException` with E_ENTITLEMENT_TOKEN for what no server could be shown; None is no token."""
    if token is None:
        return
    if not isinstance(token, str) or not token.isascii() or not token.strip().isprintable() or " " in token.strip():
        detail = "A token is a string of printable ASCII without spaces."
        raise MigratoryDataException(MigratoryDataException.E_ENTITLEMENT_TOKEN, detail)
