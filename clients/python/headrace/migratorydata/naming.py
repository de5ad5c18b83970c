"""Both spellings of a method: `set_servers` and `setServers`. Pure."""

from typing import TypeVar

C = TypeVar("C", bound=type)


def with_camel_case(made: C) -> C:
    """Add to a class the camelCase name of each of its public methods. Names that it has already stay."""
    for name in [name for name in vars(made) if "_" in name and not name.startswith("_")]:
        if name == name.lower() and not hasattr(made, camel_case(name)):
            setattr(made, camel_case(name), vars(made)[name])
    return made


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
