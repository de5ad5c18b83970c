"""Tic-tac-toe for two, as an application of App Engine would be written: the server tells both pages of each move.

Its calls of the Channel API are those of 2012; around them is Python's own HTTP server. The games are in memory.
"""

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qs, urlsplit

import headrace.channel

# The values of headrace.toml, unless the environment has others.
NODE = os.environ.setdefault("HEADRACE_SERVERS", "http://localhost:8080")
os.environ.setdefault("HEADRACE_TOKEN", "only-for-trying-it-out-on-one-machine")
PRESENCE_SECRET = os.environ.get("PRESENCE_SECRET", "presence-on-one-machine")

headrace.channel.install()

from google.appengine.api import channel  # noqa: E402 (it is there from now on)

PAGE = Path(__file__).with_name("index.html")
MAX_BODY_BYTES = 4096
MAX_GAMES = 1000
LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


@dataclass
class Game:
    """Players are named by their cookies; X begins."""

    key: str
    players: list[str]
    board: str = " " * 9
    here: set[str] = field(default_factory=set)

    @property
    def turn(self) -> str:
        return "XO"[self.board.count("X") > self.board.count("O")]

    @property
    def winner(self) -> str:
        rows = ["".join(self.board[at] for at in line) for line in LINES]
        return next((mark for mark in "XO" if mark * 3 in rows), "")

    def move(self, player: str, square: int) -> bool:
        mark = "XO"[self.players.index(player)] if player in self.players else ""
        if mark != self.turn or self.winner or not 0 <= square < 9 or self.board[square] != " ":
            return False
        self.board = self.board[:square] + mark + self.board[square + 1 :]
        return True

    def client_id(self, player: str) -> str:
        return f"{player}_{self.key}"

    def tell(self) -> None:
        """Send both players how it stands."""
        for number, player in enumerate(self.players):
            state = {
                "board": self.board,
                "you": "XO"[number],
                "turn": self.turn,
                "winner": self.winner,
                "both": len(self.here) == 2,
            }
            channel.send_message(self.client_id(player), json.dumps(state))


games: dict[str, Game] = {}
lock = Lock()


def join(key: str, player: str) -> Game:
    """Return the game, which the first player begins and the second joins; others look on at nothing."""
    game = games.get(key)
    if game is None:
        while len(games) >= MAX_GAMES:
            del games[next(iter(games))]
        game = games[key] = Game(key, [player])
    elif player not in game.players and len(game.players) < 2:
        game.players.append(player)
    return game


class Application(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        key = parse_qs(url.query).get("g", [""])[0]
        if url.path != "/":
            self._answer(404)
        elif not key:
            self._answer(302, headers={"Location": f"/?g={secrets.token_hex(4)}"})
        else:
            self._show(key)

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY_BYTES))
        if self.path.startswith("/_ah/channel/"):
            self._answer(self._presence(body))
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        game = games.get(form.get("g", ""))
        if game is None:
            self._answer(404)
            return
        with lock:
            if self.path == "/opened" or game.move(self._player(), int(form.get("i", -1))):
                game.tell()
        self._answer(204)

    def _show(self, key: str) -> None:
        player = self._player() or secrets.token_hex(8)
        with lock:
            game = join(key, player)
        if player not in game.players:
            self._answer(403, b"Two are playing already.")
            return
        token = channel.create_channel(game.client_id(player))
        page = PAGE.read_text().replace("{{ node }}", NODE).replace("{{ token }}", token)
        headers = {"Content-Type": "text/html; charset=utf-8", "Set-Cookie": f"player={player}; HttpOnly"}
        self._answer(200, page.encode(), headers=headers)

    def _presence(self, body: bytes) -> int:
        """A node tells who has come or gone."""
        try:
            seen = headrace.channel.verify_presence(
                self.path, dict(self.headers), body, secret=PRESENCE_SECRET, now=time.time()
            )
        except headrace.channel.InvalidPresence:
            return 403
        player, _, key = seen.client_id.partition("_")
        with lock:
            game = games.get(key)
            if game is not None:
                (game.here.add if seen.connected else game.here.discard)(player)
                game.tell()
        return 204

    def _player(self) -> str:
        """Return the player that the cookie names, or nothing."""
        found = SimpleCookie(self.headers.get("Cookie", "")).get("player")
        return found.value if found and found.value.isalnum() else ""

    def _answer(self, status: int, body: bytes = b"", *, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    print(f"the game is at http://localhost:{port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Application).serve_forever()
