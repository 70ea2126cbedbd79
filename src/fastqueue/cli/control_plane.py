"""Own the command `control-plane`: the queue, with its local subworkers as child processes.

The task modules are imported in the subworkers alone: user code stays out of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from fastqueue.cli.arguments import split_modules
from fastqueue.cli.exit_codes import DONE, FAILED
from fastqueue.cli.logs import configure_logs, flush
from fastqueue.cli.stopping import StopSignals, first_of
from fastqueue.config import DISCOVERY_ADDRESS, ControlPlaneSettings, SubworkerSettings
from fastqueue.control_plane.app import ControlPlane
from fastqueue.errors import ConfigurationError, FastQueueError
from fastqueue.subworker.supervisor import STOP_MARGIN_S, Supervisor, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["run_control_plane"]

logger = logging.getLogger(__name__)

# What ending the control plane itself may take, its last commit included.
_END_S = 15.0
_LOCAL_PROCESSES_MAX = 4


def run_control_plane(given: Mapping[str, object]) -> int:
    """Run a control plane until it is told to stop; return the exit code.

    Args:
        given: the arguments for `ControlPlaneSettings`, None where not given.

    Raises:
        FastQueueError: it can't start.
    """
    settings = ControlPlaneSettings.resolve(**given)
    # Its own addresses are what local subworkers are told, once they are known.
    local = SubworkerSettings.resolve(
        worker_id=settings.worker_id,
        discovery_address=DISCOVERY_ADDRESS,
        task_modules=settings.task_modules,
        concurrency=settings.concurrency,
        task_processes=settings.task_processes,
        queues=settings.queues,
        grace_s=settings.grace_s,
        allow_pickle=settings.allow_pickle,
        log_level=settings.log_level,
        processes=1,
    )
    local = dataclasses.replace(
        local,
        task_modules=split_modules(local.task_modules),
        token=settings.local_token,
        # They are told an address of this machine, which needs no certificates.
        tls_ca=None,
        tls_cert=None,
        tls_key=None,
    )
    count = _default_processes() if settings.processes is None else settings.processes
    if count > 0 and not local.task_modules:
        raise ConfigurationError(
            "there are no task modules to run: name them with --task-modules, or run the control "
            "plane without local subworkers with --processes 0"
        )
    if count > 0 and settings.tokens and settings.local_token is None:
        raise ConfigurationError(
            "the local subworkers have no token: set FASTQUEUE_TOKEN_WORKER as well, or run the "
            "control plane without them with --processes 0"
        )
    configure_logs(settings.log_level, settings.worker_id)
    return uvloop.run(_serve(settings, local, count))


def _default_processes() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_LOCAL_PROCESSES_MAX, cpus - 1))


async def _serve(settings: ControlPlaneSettings, local: SubworkerSettings, count: int) -> int:
    supervisor: Supervisor | None = None

    def kill_subworkers() -> None:
        if supervisor is not None:
            supervisor.kill()

    signals = StopSignals(local.grace_s + STOP_MARGIN_S + _END_S, kill_subworkers)
    control_plane = ControlPlane(settings)
    await first_of(signals.requested.wait(), control_plane.start())
    if signals.requested.is_set():  # it may still wait for room on its disk
        await control_plane.stop()
        return DONE
    local = dataclasses.replace(
        local,
        control_plane_address=control_plane.local_address,
        discovery_address=control_plane.discovery_address,
    )
    names = numbered(settings.worker_id, count)
    supervisor = Supervisor(local, names, control_plane.note_death)
    try:
        await supervisor.start()
        await _until_over(settings, control_plane, supervisor, signals)
    except ConfigurationError:
        raise  # a subworker's; ours are raised by `start`
    except Exception as error:  # the top of the service: it ends, as in a crash
        if not isinstance(error, FastQueueError):
            logger.exception("the control plane has failed")  # of the others `stop` tells
        # A control plane that is started again finds its subworkers' results still coming.
        supervisor.abandon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await control_plane.stop()
        flush()
        # Not the usual end, which would kill the subworkers as well.
        os._exit(FAILED)
    finally:
        # It goes on serving meanwhile, so that the last reports are stored.
        await supervisor.stop()
        await control_plane.stop()
    await control_plane.wait()  # raises if it failed while it stopped
    logger.info("stopped")
    return DONE


async def _until_over(
    settings: ControlPlaneSettings,
    control_plane: ControlPlane,
    supervisor: Supervisor,
    signals: StopSignals,
) -> None:
    """Return when a stop is asked for; raise what makes going on impossible."""
    stop, over = signals.requested, (control_plane.wait, supervisor.wait)
    await first_of(stop.wait(), supervisor.connected(), *(one() for one in over))
    if not stop.is_set():
        _announce(settings, control_plane, supervisor.processes)
        await first_of(stop.wait(), *(one() for one in over))
    logger.info("stopping; Ctrl-C ends it at once")


def _announce(settings: ControlPlaneSettings, control_plane: ControlPlane, count: int) -> None:
    logger.info(
        "control plane ready: data %s, discovery %s, data directory %s, durability %s, %d local "
        "subworker%s",
        control_plane.address,
        control_plane.discovery_address,
        Path(settings.data_dir).resolve(),
        settings.durability,
        count,
        "" if count == 1 else "s",
    )
