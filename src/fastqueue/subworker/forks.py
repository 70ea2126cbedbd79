"""Own what a process that a task forks lets go of: this subworker's connections.

The control plane takes the end of a connection for the end of the subworker. A copy in a forked
process would keep it open for as long as that one lives, and the tasks of a subworker that was
killed would wait for its silence instead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["let_go_in_forks"]


def let_go_in_forks(descriptors: Callable[[], Iterable[int]]) -> None:
    """Have every process forked from this one, from now on and for good, let go of descriptors.

    Args:
        descriptors: returns those that are open at the time.
    """

    def let_go() -> None:
        # Not closed: the objects that own the numbers are copied too, and would close later what
        # had got the number by then.
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for descriptor in descriptors():
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)

    os.register_at_fork(after_in_child=let_go)
