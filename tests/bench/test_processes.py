import os
import sys

import pytest

from bench.processes import free_port, running


def test_a_child_ends_with_the_block_also_after_a_failure() -> None:
    seen: list[int] = []

    def fail() -> None:
        with running([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
            seen.append(child.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def test_a_free_port_can_be_had() -> None:
    assert 1024 <= free_port() <= 65535
