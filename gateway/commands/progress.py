"""The progress display of `headrace pub` on a terminal."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from gateway.commands.publishing import Tally


class Display:
    """A bar by bytes where the input's size is known, counts otherwise. Writes to standard error alone."""

    def __init__(self, total_bytes: int | None, *, console: Console | None = None) -> None:
        bar = [BarColumn(), DownloadColumn()] if total_bytes else []
        self._progress = Progress(
            TextColumn("{task.fields[stored]} stored, {task.fields[waiting]} in flight"),
            *bar,
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("publishing", total=total_bytes, stored=0, waiting=0)

    def show(self, tally: "Tally") -> None:
        waiting = tally.sent - tally.stored - tally.failed
        # A line's end counts too, so that the bar reaches the file's size.
        done = tally.bytes + tally.sent
        self._progress.update(self._task, completed=done, stored=tally.stored, waiting=waiting)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
