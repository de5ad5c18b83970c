"""Tables within the configuration: dataclasses of options, read one table at a time, with every mistake and its place.

`gateway.options` knows flat options; a list of APIs has tables in tables. Each level is a dataclass whose fields are
`option`s; a field that is a table itself has a `read` that calls `read_members` again and raises `Mistakes`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from gateway.options import Mistake, Mistakes, Option, describe, nearest, options_of, read_value

T = TypeVar("T")


def read_members(kind: type, given: object, mistakes: list[Mistake]) -> dict[str, Any]:
    """Return the members of the table `given`, each as its field of `kind` wants it; what is wrong is in `mistakes`.

    Raises `ValueError` where it is no table.
    """
    if not isinstance(given, Mapping):
        raise ValueError("this must be a table")
    known = {option.key: option for option in options_of(kind)}
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            mistakes.append(unknown(str(key), list(known), "there is no such member"))
            continue
        with_mistakes(partial(_put, found, known[key], value), key, mistakes)
    return found


def _put(found: dict[str, Any], option: Option, value: object) -> None:
    try:
        found[option.key] = read_value(option, value)
    except Mistakes:
        raise
    except ValueError as error:
        raise ValueError(f"{error}{describe(option, value)}") from None


def with_mistakes(read: Callable[[], T], place: str, mistakes: list[Mistake]) -> T | None:
    """Return what `read` returns; None where it raises, with its mistakes added under `place`."""
    try:
        return read()
    except Mistakes as several:
        mistakes += several.under(place)
    except ValueError as error:
        mistakes.append(Mistake(place, str(error)))
    return None


def read_named(given: object, read: Callable[[str, object], T]) -> dict[str, T]:
    """Read a table of tables by name, in its order. Raises `Mistakes`."""
    if not isinstance(given, Mapping):
        raise ValueError("this must be a table")
    mistakes: list[Mistake] = []
    found: dict[str, T] = {}
    for name, value in given.items():
        one = with_mistakes(partial(read, name, value), quoted(name), mistakes)
        if one is not None:
            found[name] = one
    if mistakes:
        raise Mistakes(mistakes)
    return found


def read_listed(
    given: object, read: Callable[[object], T], *, most: int, called: str, named_by: str = "name"
) -> tuple[T, ...]:
    """Read a list of tables, or the same as JSON; each is placed by a member of it or its number. Raises `Mistakes`."""
    if isinstance(given, str):
        try:
            given = json.loads(given or "[]")
        except ValueError:
            raise ValueError(f"this must be a JSON list of {called}") from None
    if not isinstance(given, list) or len(given) > most:
        raise ValueError(f"this must be a list of at most {most} {called}")
    mistakes: list[Mistake] = []
    found: list[T] = []
    for number, value in enumerate(given, 1):
        name = value.get(named_by) if isinstance(value, Mapping) else None
        place = name if isinstance(name, str) and name else str(number)
        inner: list[Mistake] = []
        one = with_mistakes(partial(read, value), quoted(place), inner)
        mistakes += [replace(mistake, item=number) for mistake in inner]
        if one is not None:
            found.append(one)
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(found)


def unknown(word: str, known: list[str], sentence: str) -> Mistake:
    """Return the mistake of a word that is none of `known`, with the nearest of them."""
    near = nearest(word, known)
    return Mistake(quoted(word), f"{sentence}{f'; did you mean {near}?' if near else ''}")


def quoted(name: str) -> str:
    """Return a name as it stands in a dotted key of TOML."""
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
