"""Letters are shared by what comes in one turn, bounded, and each post has its own outcome."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from attached import running

from broker.errors import HeadraceError, Unavailable
from gateway.apigateway.cluster import courier as module
from gateway.apigateway.cluster.courier import Courier, known_by
from gateway.apigateway.cluster.letters import Post, packed_outcomes, read_posts
from gateway.apigateway.errors import Gone

Answer = Callable[[str, list[Post]], bytes]


class Mail:
    """Takes letters and answers them."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.letters: list[tuple[str, list[Post]]] = []
        self._answer = answer or (lambda _, posts: packed_outcomes([None] * len(posts)))

    async def send(self, node: str, letter: bytes) -> bytes:
        posts = read_posts(letter)
        self.letters.append((node, posts))
        return self._answer(node, posts)


def post(number: int, size: int = 1) -> Post:
    return Post("c", b"x" * size, str(number))


@asynccontextmanager
async def serving(mail: Mail) -> AsyncIterator[Courier]:
    courier = Courier(mail.send)
    async with running(courier.serve()):
        await asyncio.sleep(0)
        yield courier


async def test_posts_of_one_turn_share_a_letter_a_node() -> None:
    mail = Mail()
    async with serving(mail) as courier:
        await asyncio.gather(*(courier.post("ab"[n % 2], post(n)) for n in range(6)))
        await courier.post("a", post(6))
    shown = [(node, [p.invocation for p in posts]) for node, posts in mail.letters]
    assert shown == [("a", ["0", "2", "4"]), ("b", ["1", "3", "5"]), ("a", ["6"])]


async def test_letters_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POSTS", 3)
    monkeypatch.setattr(module, "MAX_LETTER_BYTES", 100)
    mail = Mail()
    sizes = [1, 1, 1, 1, 90, 20, 500, 1]
    async with serving(mail) as courier:
        await asyncio.gather(*(courier.post("a", post(n, size)) for n, size in enumerate(sizes)))
    assert [[len(p.data) for p in posts] for _, posts in mail.letters] == [[1, 1, 1], [1, 90], [20], [500], [1]]


async def test_each_post_has_its_own_outcome() -> None:
    outcomes: list[HeadraceError | None] = [None, Gone(), None]
    async with serving(Mail(lambda _node, _posts: packed_outcomes(outcomes))) as courier:
        ended = await asyncio.gather(*(courier.post("a", post(n)) for n in range(3)), return_exceptions=True)
    assert [type(one) for one in ended] == [type(None), Gone, type(None)]


@pytest.mark.parametrize("answer", [b"", b"\xc1", packed_outcomes([None]), packed_outcomes([None] * 3)])
async def test_an_answer_that_says_nothing_leaves_the_outcome_open(answer: bytes) -> None:
    async with serving(Mail(lambda _node, _posts: answer)) as courier:
        ended = await asyncio.gather(*(courier.post("a", post(n)) for n in range(2)), return_exceptions=True)
    assert [type(one) for one in ended] == [Unavailable] * 2


async def test_a_way_that_fails_is_told_to_all_and_to_nobody_else() -> None:
    def answer(node: str, posts: list[Post]) -> bytes:
        if node == "a":
            raise Unavailable
        return packed_outcomes([None] * len(posts))

    async with serving(Mail(answer)) as courier:
        ended = await asyncio.gather(
            courier.post("a", post(0)), courier.post("a", post(1)), courier.post("b", post(2)), return_exceptions=True
        )
    assert [type(one) for one in ended] == [Unavailable, Unavailable, type(None)]


async def test_one_who_stopped_waiting_does_not_hold_up_the_others() -> None:
    mail = Mail()
    async with serving(mail) as courier:
        leaving = asyncio.ensure_future(courier.post("a", post(0)))
        staying = asyncio.ensure_future(courier.post("a", post(1)))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
    assert leaving.cancelled()


async def test_nothing_is_taken_while_nobody_carries() -> None:
    with pytest.raises(Unavailable):
        await Courier(Mail().send).post("a", post(0))


def test_a_post_without_an_id_gets_one_that_no_other_has() -> None:
    assert known_by("i") == "i"
    assert known_by(None) != known_by(None)
