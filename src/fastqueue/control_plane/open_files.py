"""Own how many sessions the limit of open files has room for; the control plane asks at its start.

Without descriptors a listener can't accept, nor the store open its log. So the limit is raised as
far as the system lets us, and connections are refused before it is reached.
"""

from __future__ import annotations

import logging
import resource

__all__ = ["sessions_max"]

logger = logging.getLogger(__name__)

SESSIONS_MAX = 10_000
# For the store, discovery, callbacks under way, the pipes of local subworkers.
_RESERVED_FILES = 512


def sessions_max() -> int:
    """Raise the soft limit of open files to what is needed; return how many sessions fit in it."""
    wanted = SESSIONS_MAX + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else max(soft, min(wanted, hard))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        except (OSError, ValueError):  # some systems have another bound beside the hard one
            raised = soft
        soft = raised
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return SESSIONS_MAX
    fit = max(1, soft - min(_RESERVED_FILES, soft // 2))
    logger.warning(
        "this process may open %s files, so %s connections are accepted at most, not %s; raise "
        "the limit (ulimit -n, or LimitNOFILE= of its service)",
        f"{soft:,}",
        f"{fit:,}",
        f"{SESSIONS_MAX:,}",
    )
    return fit
