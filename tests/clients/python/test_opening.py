"""Opening a connection; what the token has to do with it is seen in test_connector.py too."""

import pytest

from headrace.credentials import Credentials
from headrace.dialects import DIALECTS
from headrace.opening import Link, Opener
from headrace.transport import OpenFailed


def opener(token=None, *, frames: list[tuple[Link, list[bytes]]] | None = None, timeout_s: float = 5) -> Opener:
    return Opener(
        Credentials(token),
        dialect=DIALECTS["json"],
        tls=None,
        timeout_s=timeout_s,
        on_frames=lambda link, received: None if frames is None else frames.append((link, received)),
        on_writable=lambda: None,
    )


async def test_frames_are_told_with_their_connection(node, until) -> None:
    frames: list[tuple[Link, list[bytes]]] = []
    link = await opener("t", frames=frames).open_greeted(node.url)
    link.transport.start()
    await until(lambda: frames)
    assert frames[0][0] is link
    assert b"welcome" in frames[0][1][0]
    assert node.headers[0]["Authorization"] == "Bearer t"
    link.abort()


async def test_without_a_welcome_nothing_is_opened(node, until) -> None:
    node.silent = True
    with pytest.raises(OpenFailed, match="welcome"):
        await opener(timeout_s=0.1).open_greeted(node.url)
    await until(lambda: not node.connections())


async def test_a_token_function_that_fails_says_only_its_name(node) -> None:
    def token() -> str:
        raise RuntimeError("s3cret")

    with pytest.raises(OpenFailed) as caught:
        await opener(token).open(node.url)
    assert "RuntimeError" in str(caught.value) and "s3cret" not in str(caught.value)
