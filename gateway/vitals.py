"""Vitals: how much of its machine this process takes."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_STARTED = time.monotonic()

STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Vitals:
    """Both in per cent: of one core since the process began, and of the machine's memory now."""

    cpu: float
    memory: float


def vitals() -> Vitals:
    times, elapsed = os.times(), max(time.monotonic() - _STARTED, 1e-3)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Vitals(
        cpu=round((times.user + times.system) * 100 / elapsed, 2), memory=round(_resident_bytes() * 100 / machine, 2)
    )


def _resident_bytes() -> int:
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # No /proc: the peak, in KiB.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
