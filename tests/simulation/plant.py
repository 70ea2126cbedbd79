"""Own the planting of faults: `make mutants` shows that the simulation catches each of them.

Every fault of `mutants.py` and `stack/mutants.py` is planted alone in a copy of the package, and
seeds of its world are played over the copy until one fails. A fault that no seed catches survives,
and is an error: then a checker or the world is too weak. So is a fault whose text is no longer in
the source.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.stack.mutants import STACK_MUTANTS

import fastqueue

FAULTS = [*(("engine", mutant) for mutant in MUTANTS), *(("stack", m) for m in STACK_MUTANTS)]
"""Every fault, after the world that must catch it."""

PACKAGE = Path(fastqueue.__file__).parent
_ROOT = Path(__file__).parents[2]
_PROCESSES = 2
_CAUGHT = 3
# Far more than all seeds take; only a fault that makes a turn endless, or stops it, needs them.
_PLAY_CPU_S_MAX = 60
_PLAY_S_MAX = 600.0


def planted(package: Path, mutant: Mutant) -> str:
    """Return the text of the mutant's file, with the fault.

    Raises:
        LookupError: the text to be replaced isn't there exactly once.
    """
    text = (package / mutant.file).read_text()
    if (count := text.count(mutant.old)) != 1:
        raise LookupError(
            f"planted fault {mutant.name!r}: its old text is {count} times in {mutant.file}; put "
            "the fault right in tests/simulation/mutants.py"
        )
    return text.replace(mutant.old, mutant.new)


def _run(world: str, mutant: Mutant | None, seeds: int) -> tuple[bool, str]:
    """Play seeds of a world over a copy with the fault; say whether one failed, and how."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fastqueue"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            (copy / mutant.file).write_text(planted(PACKAGE, mutant))
        path = os.pathsep.join([folder, str(_ROOT)])
        command = [sys.executable, "-m", __spec__.name, "--play", world, "--seeds", str(seeds)]
        try:
            child = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=_PLAY_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True, f"a turn doesn't end in {_PLAY_S_MAX:g} s"
    if child.returncode == -signal.SIGXCPU:
        return True, f"a turn doesn't end in {_PLAY_CPU_S_MAX} s of work"
    if child.returncode not in (0, _CAUGHT):
        raise RuntimeError(f"{mutant}: the seeds can't be played:\n{child.stderr}{child.stdout}")
    return child.returncode == _CAUGHT, child.stdout.strip()


def _play_here(world: str, seeds: int) -> int:
    """Play seeds over the package that this process imports, a copy."""
    from tests.simulation import play
    from tests.simulation.stack import play as stack_play

    resource.setrlimit(resource.RLIMIT_CPU, (_PLAY_CPU_S_MAX, _PLAY_CPU_S_MAX + 1))
    play_quietly = stack_play.play_quietly if world == "stack" else play.play_quietly
    if Path.cwd() not in PACKAGE.parents:
        sys.exit(f"fastqueue comes from {PACKAGE}, not from the copy in {Path.cwd()}")
    for seed in range(seeds):
        error = play_quietly(seed)
        if isinstance(error, SyntaxError | NameError | ImportError):
            sys.exit(f"the fault isn't a working program: {error!r}")
        if isinstance(error, BaseException):
            [what, *_] = str(error).splitlines() or [""]
            print(f"seed {seed}: {type(error).__name__}: {what[:70]}")
            return _CAUGHT
    return 0


def main() -> int:
    """Plant each fault; return 1 if one survives."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--play", choices=("engine", "stack"), help="for this program's own use")
    parser.add_argument("names", nargs="*", help="the faults to plant; all if none is named")
    arguments = parser.parse_args()
    if arguments.play:
        return _play_here(arguments.play, arguments.seeds)
    chosen = [f for f in FAULTS if not arguments.names or f[1].name in arguments.names]
    begun = time.monotonic()
    survivors = []
    with ThreadPoolExecutor(_PROCESSES) as pool:
        sound = [pool.submit(_run, world, None, arguments.seeds) for world in ("engine", "stack")]
        runs = pool.map(lambda fault: _run(*fault, arguments.seeds), chosen)
        for is_caught, how in (run.result() for run in sound):
            if is_caught:
                sys.exit(f"the simulation fails without any fault; make simulation first: {how}")
        for (_, mutant), (is_caught, how) in zip(chosen, runs, strict=True):
            print(f"{'caught' if is_caught else 'SURVIVED':9} {mutant.name:60} {how}", flush=True)
            if not is_caught:
                survivors.append(mutant)
    took = time.monotonic() - begun
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} faults caught in {took:.0f} s")
    for mutant in survivors:
        print(f"survived: {mutant.name} ({mutant.file}): {mutant.why}", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
