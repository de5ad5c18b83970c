"""Credentials of every face: the service token, JWTs (keys from the configuration or a JWKS URL), anonymous rights."""

from typing import Protocol

from broker.rights import Principal


class Authenticator(Protocol):
    @property
    def anonymous(self) -> Principal:
        """The rights of a caller without a credential: none by default."""

    def known(self, token: str) -> Principal | None:
        """Return the principal at once where no fetch is needed, None where `authenticate` must be awaited.

        Raises `Unauthorized`.
        """

    async def authenticate(self, token: str) -> Principal:
        """Return the principal of `token`, or raise `Unauthorized` with a reason that holds nothing of the token."""

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Tell whether a browser page of `origin` may use this node; no Origin header is not a browser: allowed."""
