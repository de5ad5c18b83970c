"""A drawing of how a herd comes back, one curve a client library, as an SVG without scripts or fonts. Pure."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 860, 440
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 250, 50
POINTS = 120
MOST_S = 180
"""Seconds that are drawn."""
COLOURS = ("#8c564b", "#1f77b4", "#2ca02c", "#17becf", "#9467bd", "#e377c2", "#7f7f7f", "#ff7f0e", "#d62728", "#000000")


def curves(backs: Mapping[str, Sequence[float]], *, title: str) -> str:
    """Return the share of clients that are back over time; `backs` holds sorted seconds by name."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{escape(title)}</text>',
        *_axes(),
    ]
    for index, (name, seconds) in enumerate(backs.items()):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<path d="{_path(seconds)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 10 + index * 22
        x = WIDTH - RIGHT + 16
        parts.append(f'<path d="M{x} {y}h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> list[str]:
    parts = []
    for share in (0, 25, 50, 75, 100):
        y = _y(share / 100)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share} %</text>')
    for second in range(0, MOST_S + 1, 30):
        x = _x(second)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{second}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">seconds after the service is back</text>')
    return parts


def _path(seconds: Sequence[float]) -> str:
    steps = [round(index * (len(seconds) - 1) / POINTS) for index in range(POINTS + 1)]
    places = [(min(seconds[step], MOST_S), (step + 1) / len(seconds)) for step in steps]
    line = " ".join(f"L{_x(second):.1f} {_y(share):.1f}" for second, share in places)
    return f"M{_x(0):.1f} {_y(0):.1f} {line}"


def _x(second: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * second / MOST_S


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
