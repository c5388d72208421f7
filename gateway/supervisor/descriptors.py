"""How many sockets and files our processes may have open."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("tollway.supervisor")


def allow_as_many_as_we_may(max_connections: int) -> None:
    """A socket for each caller, and one for its call. Said in the log where the system allows fewer.

    What comes beyond is closed by the loop, unseen by us: no metric would tell.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < max_connections:
        log.warning(
            "the system allows a process %d open files, fewer than TOLLWAY_MAX_CONNECTIONS (%d): connections"
            " beyond are closed unseen; raise `ulimit -Hn` (LimitNOFILE), or lower the setting",
            most,
            max_connections,
        )
