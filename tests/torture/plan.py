"""Own what goes wrong and when, all of it from one seed: the acts of one site, in order.

And the names by which its processes and the ledger speak of the same things.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

CONTROL_PLANE, SUBWORKER, CLIENT = "control plane", "subworker", "client"
ROLES = (CONTROL_PLANE, SUBWORKER, CLIENT)
# Stopped now and then, but never killed: what a listener has read and not yet noted is nobody
# else's to know, so its death would lose callbacks that were delivered.
LISTENER = "listener"
NETWORK_FAULTS = ("cut", "reset", "stall", "one way", "half-open", "closed door", "early cut")

# The tasks that are submitted; those of the second kind must never be run twice.
AT_LEAST_ONCE = ("work", "work_in_thread")
AT_MOST_ONCE = ("work_once", "work_once_in_thread")

_ROLE_WEIGHTS = (3, 5, 4)
# From one kill to the next of a site, on average.
_KILL_EVERY_S = 0.55
# A crash of the control plane stops all leasing for a second: were there another every second,
# nothing at all would run. One in a few is killed again all the same, while it recovers.
_CONTROL_PLANE_REST_S = 4.0
_KILLED_AGAIN = 0.15
_STOPS_PER_KILL = 0.35
_FAULTS_PER_KILL = 0.7
_STOP_S = {
    CONTROL_PLANE: (0.05, 0.5),
    SUBWORKER: (0.1, 3.0),
    CLIENT: (0.1, 1.0),
    LISTENER: (0.1, 1.0),
}
_FAULT_S = (0.05, 0.6)
# Long stops take half of the time that so many kills do, and spare the control plane that long.
_KILLS_PER_LONG_STOPS = 100
_LONG_STOPS_BEGIN_S = (2.0, 6.0)


@dataclass(frozen=True)
class Act:
    """Be one thing that goes wrong.

    Attributes:
        at_s: when, in seconds from the beginning.
        what: `kill`, `stop` (go on later), `long stops`, or one of `NETWORK_FAULTS`.
        whom: a role, or "" for the network and for long stops.
        pick: which of those there are, from 0 to 1; for long stops 1 is the control plane's own
            subworker, 0 another one.
        for_s: how long a stop or a fault lasts, in seconds.
    """

    at_s: float
    what: str
    whom: str = ""
    pick: float = 0.0
    for_s: float = 0.0


@dataclass(frozen=True)
class LongStop:
    """Be a stop that lasted longer than a subworker may be silent.

    Attributes:
        whom: the role of the process.
        pid: its number.
        at: when it stood still, on the ledger's clock.
        until: when it was let go on.
    """

    whom: str
    pid: int
    at: float
    until: float


def make_plan(seed, site, kills):
    """Return the acts that one site goes through, `kills` of which kill."""
    chance = random.Random(f"{seed}:{site}")
    acts = []
    at_s, rested_at_s = 0.5, 0.0
    for n in range(kills):
        if n % _KILLS_PER_LONG_STOPS == 0 and kills - n >= _KILLS_PER_LONG_STOPS:
            begin_s = at_s + chance.uniform(*_LONG_STOPS_BEGIN_S)
            # In turns, and at another site the other way round.
            acts.append(Act(begin_s, "long stops", "", (n // _KILLS_PER_LONG_STOPS + site) % 2))
        at_s += chance.uniform(0.4, 1.6) * _KILL_EVERY_S
        [whom] = chance.choices(ROLES, _ROLE_WEIGHTS)
        if whom == CONTROL_PLANE:
            if at_s < rested_at_s and chance.random() > _KILLED_AGAIN:
                whom = chance.choice((SUBWORKER, CLIENT))
            else:
                rested_at_s = at_s + _CONTROL_PLANE_REST_S
        acts.append(Act(at_s, "kill", whom, chance.random()))
        if chance.random() < _STOPS_PER_KILL:
            stopped = chance.choice((*ROLES, LISTENER))
            for_s = chance.uniform(*_STOP_S[stopped])
            stop_at_s = at_s + chance.uniform(0, _KILL_EVERY_S)
            acts.append(Act(stop_at_s, "stop", stopped, chance.random(), for_s))
        if chance.random() < _FAULTS_PER_KILL:
            what = chance.choice(NETWORK_FAULTS)
            fault_at_s = at_s + chance.uniform(0, _KILL_EVERY_S)
            acts.append(Act(fault_at_s, what, "", chance.random(), chance.uniform(*_FAULT_S)))
    return sorted(acts, key=lambda act: act.at_s)
