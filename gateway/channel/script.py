"""`/_ah/channel/jsapi`: the script that pages of the Channel API load.

It goes out without its comments and indentation: under 10 kB, as people load it over slow lines.
"""

from importlib.resources import files

from gateway.channel.routes import Request

NAME = "assets/jsapi.js"

JAVASCRIPT = (b"content-type", b"text/javascript")


def squeezed(source: str) -> bytes:
    """Return a script without blank lines, comments that fill a line or end it, and indentation.

    It must have neither a text over several lines nor two slashes behind a space that are no comment.
    """
    lines = (line.partition(" // ")[0].strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")).encode("ascii")


class Script:
    """The handler of the path."""

    def __init__(self) -> None:
        self._body = squeezed(files("gateway.channel").joinpath(NAME).read_text("ascii"))

    async def __call__(self, request: Request) -> None:
        await request.answer(self._body, JAVASCRIPT)
