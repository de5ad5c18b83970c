"""The script as it is served."""

from importlib.resources import files

from channel_site import Site

from gateway.channel.script import NAME, squeezed

MAX_BYTES = 10_000


def source() -> str:
    return files("gateway.channel").joinpath(NAME).read_text("ascii")


def test_comments_and_indentation_do_not_go_out() -> None:
    text = '// one\n\n  var a = "//b"; // two\n    a();\n'
    assert squeezed(text) == b'var a = "//b";\na();'


def test_it_is_small() -> None:
    assert len(squeezed(source())) < MAX_BYTES


def test_old_pages_can_run_it() -> None:
    """No syntax that came after ES5."""
    for new in ("=>", "`", "let ", "const ", "class ", "async ", "...", "?.", "??"):
        assert new not in squeezed(source()).decode()


async def test_it_is_got(site: Site) -> None:
    status, headers, body = await site.get("/_ah/channel/jsapi")
    assert status == "200 OK"
    assert headers["content-type"] == "text/javascript"
    assert headers["cache-control"] == "no-cache"
    assert body == squeezed(source())
    assert (await site.get("/_ah/channel/jsapi?x=1"))[2] == body


async def test_it_is_only_got(site: Site) -> None:
    for method in ("POST", "HEAD"):
        status, _, body = await site.get("/_ah/channel/jsapi", method=method)
        assert (status, body) == ("405 Method Not Allowed", b"")
