"""Google's SDK for Python 3, where it is installed (`appengine-python-standard`). It is never required."""

import importlib
from functools import cache
from types import ModuleType

ROOT = "google.appengine"


@cache
def module(name: str) -> ModuleType | None:
    """Return a module below `google.appengine`, None without the SDK (or with one that lacks it).

    Remembered: to look in vain costs some 65 µs, and each call looks.
    """
    try:
        return importlib.import_module(f"{ROOT}.{name}")
    except ImportError:
        return None


def member(module_name: str, name: str) -> object | None:
    """Return what the SDK's module calls `name`, or None."""
    found = module(module_name)
    return getattr(found, name, None) if found is not None else None
