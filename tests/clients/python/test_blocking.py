"""The blocking client in a thread of the test's, against the scripted node on the test's loop."""

import asyncio
import threading

import pytest

import headrace
from headrace import blocking


def store_and_read(url: str) -> list[str]:
    with blocking.Client(url) as client:
        for number in range(3):
            assert client.publish("default/lines", text=str(number)).offset == number
        texts = []
        with client.subscribe("default/lines", since="earliest") as subscription:
            for message in subscription:
                texts.append(message.text)
                assert subscription.position == message.position
                if len(texts) == 3:
                    return texts
    return texts


async def test_publish_and_follow(node) -> None:
    assert await asyncio.to_thread(store_and_read, node.url) == ["0", "1", "2"]


async def test_it_survives_a_cut(node, until) -> None:
    seen: list[str] = []

    def follow() -> None:
        with blocking.Client(node.url) as client:
            for message in client.subscribe("default/lines", since="earliest"):
                seen.append(message.text)
                if len(seen) == 2:
                    return

    reading = asyncio.create_task(asyncio.to_thread(follow))
    node.append("default/lines", "0")
    await until(lambda: seen)
    node.cut()
    node.append("default/lines", "1")
    await reading
    assert seen == ["0", "1"]


async def test_errors_are_the_same(node) -> None:
    def refused() -> None:
        with blocking.Client(node.url) as client:
            with pytest.raises(headrace.InvalidMessage):
                client.publish("default/lines")
            with pytest.raises(ValueError):
                client.subscribe("default/lines", since="then")  # type: ignore[arg-type]

    await asyncio.to_thread(refused)


async def test_closing_ends_what_waits_and_the_thread(node) -> None:
    def close() -> list[object]:
        client = blocking.Client(node.url).open()
        assert client.connected().connected
        subscription = client.subscribe("default/lines")
        items: list[object] = []
        reader = threading.Thread(target=lambda: items.extend([*subscription, "ended"]))
        reader.start()
        client.close()
        reader.join(10)
        assert not reader.is_alive()
        client.close()
        with pytest.raises(headrace.ClientClosed):
            client.publish("default/lines", text="x")
        return items

    assert await asyncio.to_thread(close) == ["ended"]
    assert not [thread for thread in threading.enumerate() if thread.name == "headrace"]


def test_it_keeps_the_documentation_of_what_it_calls() -> None:
    assert blocking.Client.publish.__doc__ == headrace.Client.publish.__doc__


def test_an_unopened_client_says_how_to_open_it() -> None:
    with pytest.raises(headrace.ClientClosed, match="with"):
        blocking.Client("http://127.0.0.1:9").publish("default/lines", text="x")
