"""A bench's result: rows for a person, JSON for a script, and the verdict on its targets."""

import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: `value` must be at most (or at least) `bound`."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return (
            f"{self.name}: {self.value:.2f} (target {sign} {self.bound:g}): {'reached' if self.reached else 'MISSED'}"
        )


@dataclass(slots=True)
class Report:
    """What one bench saw. `faults` counts losses, repeats and disorder: above zero the bench has failed."""

    bench: str
    settings: dict[str, object]
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the rows as a plain aligned table with the targets below."""
        cells = [self.columns, *(tuple(_shown(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        lines += ["", *map(str, self.targets), *(f"FAULT: {fault}" for fault in self.faults)]
        return "\n".join(lines)

    def as_json(self) -> str:
        result = {
            "bench": self.bench,
            "settings": self.settings,
            "columns": self.columns,
            "rows": self.rows,
            "targets": [{**asdict(target), "reached": target.reached} for target in self.targets],
            "faults": self.faults,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("headrace-server", "uvicorn", "uvloop", "websockets", "fastapi")},
            },
        }
        return json.dumps(result)


def publish(report: Report, *, json_only: bool) -> int:
    """Print the report and return the exit status: 1 when something was lost, repeated or out of order."""
    if not json_only:
        print(f"\n{report.bench}: {', '.join(f'{k} {v}' for k, v in report.settings.items())}\n", file=sys.stderr)
        print(report.table(), file=sys.stderr)
    print(report.as_json(), flush=True)
    return 1 if report.faults else 0


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.2f}" if abs(cell) < 100 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
