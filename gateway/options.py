"""How options are found and read: from dataclass fields, in flags, environment and TOML, with every mistake named.

A field made by `option` carries its meaning and its bounds; everything else (the key, the name in the environment, how
a text becomes its value) follows from the field. Reading never stops at the first mistake: an operator wants them all.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

ENVIRONMENT_PREFIX = "HEADRACE_"

MAX_SHOWN = 80
"""Characters of an offending value that a mistake shows."""

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that must not be printed. Read it where it is used: `secret.value`."""

    value: str

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with the configuration: where it stands, and a sentence with the way out.

    `item` is the number, from 1, of the table in a list of tables that it was found in.
    """

    place: str
    sentence: str
    item: int | None = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


class Mistakes(ValueError):
    """Several things wrong within one value, which is a table or a list; their places are relative to it."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(str(mistake) for mistake in mistakes))

    def under(self, place: str, items: Sequence[str] = ()) -> list[Mistake]:
        """Return them with the place of the value that they were found in, or of the item of it where it is known."""
        found: list[Mistake] = []
        for inner in self.mistakes:
            base = items[inner.item - 1] if inner.item and inner.item <= len(items) else place
            found.append(replace(inner, place=".".join(filter(None, (base, inner.place)))))
        return found


class ConfigError(Exception):
    """The configuration does not hold; `mistakes` names everything that was found."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in mistakes))


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `key` is dotted (`limits.connections`), `kind` the field's type without None."""

    key: str
    kind: Any
    default: object
    meaning: str
    least: float | None
    most: float | None
    read: Callable[[object], object] | None
    show: Callable[[Any], str] | None = None

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.key.replace(".", "_").upper()

    @property
    def is_secret(self) -> bool:
        return self.kind is Secret or self.read is not None


def option(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    most: float | None = None,
    read: Callable[[object], object] | None = None,
    show: Callable[[Any], str] | None = None,
) -> Any:
    """A dataclass field that is an option. `read` turns a TOML or JSON value into the field's, or raises `ValueError`;

    it also says that the value may hold secrets and is never shown. It may raise `Mistakes` with all that is wrong.
    `show` says of such a value what an operator may see.
    """
    metadata = {"meaning": meaning, "least": least, "most": most, "read": read, "show": show}
    return dataclasses.field(default=default, metadata=metadata)


def options_of(section: type, prefix: str = "") -> list[Option]:
    """Return the options of a dataclass and of the sections in it, in the order of its fields."""
    found: list[Option] = []
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        kind = _without_none(hints[field.name])
        if "meaning" in field.metadata:
            found.append(Option(prefix + field.name, kind, field.default, **field.metadata))
        elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found.extend(options_of(kind, f"{prefix}{field.name}."))
    return found


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def read_value(option: Option, given: object) -> object:
    """Return what was given as the option's value, or raise `ValueError` with a sentence that does not quote it."""
    if option.read is not None:
        return option.read(given)
    if get_origin(option.kind) is tuple:
        return _read_list(given)
    if option.kind is bool:
        return _read_bool(given)
    if option.kind in (int, float):
        return _read_number(option, given)
    if not isinstance(given, str):
        raise ValueError("this must be a text")
    if option.kind is Secret:
        return Secret(given) if given else None
    if isinstance(option.kind, type) and issubclass(option.kind, StrEnum):
        return _read_word(option.kind, given)
    return given


def _read_list(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if isinstance(given, list | tuple) and all(isinstance(part, str) for part in given):
        return tuple(given)
    raise ValueError("this must be a list of texts (in the environment: joined by commas)")


def _read_bool(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = given.lower() if isinstance(given, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("this must be true or false")


def _read_number(option: Option, given: object) -> float:
    wanted = "a whole number" if option.kind is int else "a number"
    try:
        # int() and float() would take True, 1_0 in a text and "nan"; an operator meant none of these.
        if isinstance(given, bool) or (isinstance(given, str) and not re.fullmatch(r"-?\d+(\.\d+)?", given)):
            raise ValueError
        number = option.kind(given)
        if isinstance(given, float) and number != given:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"this must be {wanted}") from None
    if option.least is not None and number < option.least:
        raise ValueError(f"this must be at least {option.least:g}")
    if option.most is not None and number > option.most:
        raise ValueError(f"this must be at most {option.most:,.0f}".replace(",", "_"))
    return float(number) if option.kind is float else int(number)


def _read_word(kind: type[StrEnum], given: str) -> StrEnum:
    try:
        return kind(given.lower())
    except ValueError:
        raise ValueError(f"this must be one of {', '.join(word.value for word in kind)}") from None


def describe(option: Option, given: object) -> str:
    """Return the offending value for a mistake: cut, quoted, and nothing of it when it is secret."""
    if option.is_secret:
        return ""
    text = str(given)
    return f" (it is {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'!a})"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that was probably meant, None when none is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.65)
    return near[0] if near else None


def flatten(table: Mapping[str, object], sections: Sequence[str]) -> dict[str, object]:
    """Return a TOML document's values by dotted key; only a known section is looked into."""
    flat: dict[str, object] = {}
    for key, value in table.items():
        if key in sections and isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": inside for inner, inside in value.items()})
        else:
            flat[key] = value
    return flat


def line_of(text: str, key: str) -> int | None:
    """Return the line of a TOML document on which a dotted key stands, None where a plain look does not find it."""
    section, _, name = key.rpartition(".")
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"\s*\[\[?\s*([\w.\"' -]+?)\s*\]", line)
        if heading:
            here = heading[1].replace('"', "").replace(" ", "")
            if here == key:
                return number
            continue
        assigned = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if assigned and (assigned[1] == name if here == section else not here and assigned[1] == key):
            return number
    return None


def lines_of_tables(text: str, key: str) -> list[int]:
    """Return the line of each `[[key]]` of a TOML document."""
    heading = re.compile(rf"\s*\[\[\s*{re.escape(key)}\s*\]\]")
    return [number for number, line in enumerate(text.splitlines(), 1) if heading.match(line)]
