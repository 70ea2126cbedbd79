"""Own the command `subworker`: a supervisor, with its subworkers as child processes.

Also if it is only one: whoever outlives it can say what it died of and what had begun in it, and
start another. The task modules are imported in the subworkers alone.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import uvloop

from fastqueue.cli.arguments import split_modules
from fastqueue.cli.exit_codes import DONE
from fastqueue.cli.logs import configure_logs
from fastqueue.cli.stopping import END_S, StopSignals, first_of
from fastqueue.config import SubworkerSettings
from fastqueue.errors import ConfigurationError
from fastqueue.subworker.obituary import Obituary
from fastqueue.subworker.supervisor import STOP_MARGIN_S, Supervisor, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["run_subworker"]

logger = logging.getLogger(__name__)


def run_subworker(given: Mapping[str, object]) -> int:
    """Run subworkers until told to stop; return the exit code.

    Args:
        given: the arguments for `SubworkerSettings`, None where not given.

    Raises:
        FastQueueError: they can't start; for one, a task module doesn't import.
    """
    settings = SubworkerSettings.resolve(**given)
    settings = dataclasses.replace(settings, task_modules=split_modules(settings.task_modules))
    if not settings.task_modules:
        raise ConfigurationError(
            "there are no task modules to run: name them with --task-modules or "
            "FASTQUEUE_TASK_MODULES"
        )
    configure_logs(settings.log_level, settings.worker_id)
    return uvloop.run(_supervise(settings))


async def _supervise(settings: SubworkerSettings) -> int:
    name = settings.worker_id
    names = [name] if settings.processes == 1 else numbered(name, settings.processes)
    obituary = Obituary(settings)
    supervisor = Supervisor(settings, names, obituary.tell)
    signals = StopSignals(settings.grace_s + STOP_MARGIN_S + END_S, supervisor.kill)
    await obituary.start()
    await supervisor.start()
    try:
        await first_of(signals.requested.wait(), supervisor.wait())
        logger.info("stopping; Ctrl-C ends it at once")
    finally:
        await supervisor.stop()
        await obituary.stop()
    return DONE
