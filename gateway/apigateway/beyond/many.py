"""One call about many connections, wherever they are attached: one question to each node that has some of them.

What is for this node happens before anything is awaited. A node that cannot be asked does not fail the call: its
connections are named as not reached, or itself where nobody knows which connections it has.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from broker.errors import HeadraceError, InvalidRequest, Unavailable
from broker.names import TopicName, parse_topic
from cluster.inbox import MAX_BODY_BYTES, Inbox
from cluster.letters import Request
from cluster.node import Node
from gateway.apigateway.beyond.criteria import Criteria, read_criteria
from gateway.apigateway.beyond.deeds import CLOSE, JOIN, LEAVE, POST, Deed, Tally, Target, packed_deed, read_deed
from gateway.apigateway.beyond.groups import Groups
from gateway.apigateway.cluster.identifiers import TAG_BYTES, place_of, tag_of
from gateway.apigateway.cluster.letters import pack, unpack
from gateway.apigateway.cluster.owners import Owners
from gateway.apigateway.cluster.records import packed_standing, read_standing
from gateway.apigateway.cluster.table import GONE, Outcome, Table
from gateway.apigateway.errors import Gone, Malformed
from gateway.apigateway.ports import LocalConnection, Standing

MANY, PAGE, COUNT = "apigateway.many", "apigateway.page", "apigateway.count"
"""What nodes ask of each other."""

ASK_SECONDS = 4.0
"""For one node's answer: beyond a letter that was lost and sent again."""

JOIN_SECONDS = 20.0
"""For letting thousands of connections into a group."""

JOINED_AT_ONCE = 200

RETRY_MS = 1000

UNREACHED = Unavailable.code


class Many:
    """Calls about many connections."""

    def __init__(self, table: Table, groups: Groups, node: Node, inbox: Inbox, owners: Owners) -> None:
        self._table = table
        self._groups = groups
        self._node = node
        self._inbox = inbox
        self._owners = owners
        inbox.handle(MANY, self._on_many)
        inbox.handle(PAGE, self._on_page)
        inbox.handle(COUNT, self._on_count)

    async def do(self, target: Target, deed: Deed) -> Tally:
        """Do something to each connection that is meant. Raises `Unavailable` where nobody can be asked."""
        tally = Tally()
        if self._node.has_stood_still:
            raise Unavailable("This node is not sure of its place in the cluster.", retry_ms=RETRY_MS)
        if target.ids is None:
            here, there = target, dict.fromkeys(await self._others(), target)
        else:
            here, there = await self._shared_out(target.ids, tally)
        local = self._locally(here, deed, tally)
        if not local and not there:
            return tally
        async with asyncio.TaskGroup() as asking:
            for work in local:
                asking.create_task(work)
            for owner, share in there.items():
                asking.create_task(self._ask(owner, share, deed, tally))
        return tally

    async def page(self, criteria: Criteria, *, after: str, limit: int) -> tuple[list[Standing], bool]:
        """Return the first `limit` connections that are meant and stand behind `after` ("": from the first on).

        Also whether they are the last; a page may be shorter than `limit`. They come in the order of their ids' bytes,
        a node's one after the other. Raises `Unavailable`, `Malformed`.
        """
        place = place_of(after) if after else b""
        found: list[Standing] = []
        for tag, node in sorted((await self._owners.look()).items()):
            if tag < place[:TAG_BYTES]:
                continue
            rows, is_cut = await self._page_of(node, criteria, place, limit - len(found))
            found += rows
            if is_cut or len(found) >= limit:
                return found, False
        return found, True

    async def count(self, criteria: Criteria) -> int:
        """Raises `Unavailable`: a count without some node's share would be wrong."""
        body = pack(criteria.plain())
        others = [self._inbox.request(node, COUNT, body, timeout=ASK_SECONDS) for node in await self._others()]
        answers = await asyncio.gather(*others)
        return self._count(criteria) + sum(int.from_bytes(answer) for answer in answers)

    # Who has what.

    async def _others(self) -> list[str]:
        """Return the other nodes as of now: one that is not known yet has connections too."""
        return [node for node in (await self._owners.look()).values() if node != self._node.id]

    async def _shared_out(self, ids: Sequence[str], tally: Tally) -> tuple[Target, dict[str, Target]]:
        """Return what is for this node and for each other; ids that nobody has are counted as failed."""
        by_tag: dict[bytes, list[str]] = {}
        here: list[str] = []
        for name in ids:
            if name in self._table:
                here.append(name)
                continue
            try:
                by_tag.setdefault(place_of(name)[:TAG_BYTES], []).append(name)
            except Malformed as refusal:
                tally.miss((name,), refusal.code)
        here += by_tag.pop(tag_of(self._node.id), [])
        members = self._owners.members()
        if by_tag.keys() - members.keys():
            try:
                members = await self._owners.look()
            except Unavailable:
                for tag in by_tag.keys() - members.keys():
                    tally.miss(by_tag.pop(tag), UNREACHED)
        for tag in by_tag.keys() - members.keys():
            tally.miss(by_tag.pop(tag), GONE)
        return Target(ids=here), {members[tag]: Target(ids=names) for tag, names in by_tag.items()}

    # On this node.

    def _locally(self, target: Target, deed: Deed, tally: Tally) -> list[Coroutine[object, object, None]]:
        """Do it to this node's connections; return what of it takes time."""
        if deed.kind == POST:
            ids = target.ids
            if ids is None:
                ids = [one.facts.id for one in self._table.chosen(target.criteria or Criteria())]
            written = self._table.post_many(ids, deed.data, invocation=deed.invocation)
            _count_in(tally, written)
            return []
        if deed.kind == CLOSE:
            self._each(target, tally, lambda one: one.close(deed.code, deed.reason))
            return []
        group = parse_topic(deed.group)
        if deed.kind == LEAVE:
            self._each(target, tally, lambda one: self._groups.leave(one.facts.id, group))
            return []
        return [self._join(self._found(target, tally), group, tally)]

    def _found(self, target: Target, tally: Tally) -> list[LocalConnection]:
        if target.ids is None:
            return list(self._table.chosen(target.criteria or Criteria()))
        found: list[LocalConnection] = []
        for name in target.ids:
            try:
                found.append(self._table.find(name))
            except Gone as refusal:
                tally.miss((name,), refusal.code)
        return found

    def _each(self, target: Target, tally: Tally, do: Callable[[LocalConnection], None]) -> None:
        for connection in self._found(target, tally):
            do(connection)
            tally.done += 1

    async def _join(self, connections: Sequence[LocalConnection], group: TopicName, tally: Tally) -> None:
        for at in range(0, len(connections), JOINED_AT_ONCE):
            some = connections[at : at + JOINED_AT_ONCE]
            joined = await asyncio.gather(*(self._groups.join(one, group) for one in some), return_exceptions=True)
            for connection, outcome in zip(some, joined, strict=True):
                if outcome is None:
                    tally.done += 1
                elif isinstance(outcome, HeadraceError):
                    tally.miss((connection.facts.id,), outcome.code)
                else:
                    raise outcome

    def _count(self, criteria: Criteria) -> int:
        return sum(1 for _ in self._table.chosen(criteria))

    # Of other nodes.

    async def _ask(self, owner: str, share: Target, deed: Deed, tally: Tally) -> None:
        try:
            seconds = JOIN_SECONDS if deed.kind == JOIN else ASK_SECONDS
            answer = await self._inbox.request(owner, MANY, packed_deed(share, deed), timeout=seconds)
            done, not_done, failed = unpack(answer, list)
        except (HeadraceError, ValueError):
            is_gone = await self._is_gone(owner)
            if share.ids is not None:
                tally.miss(share.ids, GONE if is_gone else UNREACHED)
            elif not is_gone:
                tally.unreached.append(owner)
        else:
            tally.add(done, not_done, failed)

    async def _is_gone(self, node: str) -> bool:
        try:
            return await self._owners.is_gone(node)
        except Unavailable:
            return False

    async def _page_of(self, node: str, criteria: Criteria, place: bytes, limit: int) -> tuple[list[Standing], bool]:
        """Return a node's part of a page, and whether it is less than there is."""
        if node == self._node.id:
            return self._table.page(criteria, after=place, limit=limit), False
        question = pack({"criteria": criteria.plain(), "after": place, "limit": limit})
        answer = await self._inbox.request(node, PAGE, question, timeout=ASK_SECONDS)
        try:
            rows, is_cut = unpack(answer, list)
            return [read_standing(row) for row in rows], bool(is_cut)
        except ValueError:
            raise Unavailable("The answer of another node cannot be read.", retry_ms=RETRY_MS) from None

    async def _on_many(self, request: Request) -> bytes:
        tally = Tally()
        try:
            target, deed = read_deed(request.body)
        except (ValueError, LookupError, TypeError):
            raise InvalidRequest from None
        for work in self._locally(target, deed, tally):
            await work
        return pack(tally.plain())

    async def _on_page(self, request: Request) -> bytes:
        try:
            told = unpack(request.body, dict)
            criteria = read_criteria(told["criteria"])
            rows = self._table.page(criteria, after=told["after"], limit=told["limit"])
        except (ValueError, LookupError, TypeError):
            raise InvalidRequest from None
        packed = [packed_standing(row) for row in rows]
        first = _within_bounds(packed)
        return pack([first, len(first) < len(packed)])

    async def _on_count(self, request: Request) -> bytes:
        try:
            criteria = read_criteria(unpack(request.body, dict))
        except ValueError:
            raise InvalidRequest from None
        return self._count(criteria).to_bytes(4)


def _count_in(tally: Tally, written: Outcome) -> None:
    tally.add(written.written, len(written.failed), written.failed)


def _within_bounds(rows: list[bytes]) -> list[bytes]:
    """Return as many of the first rows as an answer between nodes may hold: a page may be shorter than asked for."""
    size = 0
    for at, row in enumerate(rows):
        size += len(row) + 16
        if size > MAX_BODY_BYTES // 2 and at:
            return rows[:at]
    return rows
