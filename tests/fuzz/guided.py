"""Own fuzzing that coverage guides: `make fuzz`.

`python -m tests.fuzz.guided --seconds 60 frames messages` gives each target its share of the time,
in a process of its own, and prints what was tried. A crash leaves what led to it in a file.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    *("frames", "messages", "handshake", "announcement", "address", "settings_file", "values"),
    *("command_line", "control_plane"),
)
_INPUT_BYTES_MAX = 512
# How much may come to be held between two looks; what is remembered of inputs is in it.
_RSS_LIMIT_MB = 1_024
_GROWTH_MAX_MB = 64
_WARM_AFTER = 2_000


def fuzz(name, seconds, folder):
    """Be the process that fuzzes one target; never returns."""
    import atheris

    # Nothing of fastqueue may have been imported before, or its branches aren't seen.
    with atheris.instrument_imports(include=["fastqueue"]):
        from tests.fuzz.service import FedControlPlane
        from tests.fuzz.targets import TARGETS
    os.chdir(folder)
    if name == "control_plane":
        target = FedControlPlane(Path(folder) / "data").feed
    else:
        target = TARGETS[name]
    _write_examples(Path(folder) / "corpus")
    tries, warm_kb = 0, 0

    def once(data):
        nonlocal tries, warm_kb
        target(data)
        tries += 1
        if tries == _WARM_AFTER:
            warm_kb = _rss_kb()
        elif tries > _WARM_AFTER and tries % _WARM_AFTER == 0:
            assert _rss_kb() - warm_kb < _GROWTH_MAX_MB * 1_000, "memory grows with what is tried"

    options = [f"-max_total_time={seconds}", f"-max_len={_INPUT_BYTES_MAX}", "-timeout=20"]
    options += [f"-rss_limit_mb={_RSS_LIMIT_MB}", f"-artifact_prefix={ROOT}/fuzz-{name}-"]
    options += ["-verbosity=1", "-print_final_stats=1", str(Path(folder) / "corpus")]
    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


def _write_examples(folder):
    from tests.fuzz.service import answers, hello, valid_messages

    folder.mkdir()
    examples = [*valid_messages(1), *answers(), hello("client"), b'{"a": 1}', b"tcp://[::1]:5550"]
    examples += [b"submit\0--task-name\0add\0--args\x001", b"[client]\ntimeout = 1\n"]
    for n, example in enumerate(examples):
        (folder / str(n)).write_bytes(example)


def _rss_kb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    # Only for the processes this one starts: where to be.
    parser.add_argument("--alone", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], metavar="TARGET")
    options = parser.parse_args()
    names = options.targets or NAMES
    share_s = max(1, options.seconds // len(names))
    if options.alone:
        fuzz(names[0], share_s, options.alone)
    failed = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--seconds", str(share_s), name]
        with tempfile.TemporaryDirectory(prefix="fastqueue-fuzz-") as folder:
            command += ["--alone", folder]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        said = done.stdout + done.stderr
        tries = re.findall(r"number_of_executed_units: (\d+)", said)
        covered = re.findall(r"cov: (\d+)", said)
        count = f"{int(tries[-1]):>9,} tries" if tries else "no count"
        print(f"{name:14} {count}, coverage {covered[-1] if covered else '?'}", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(said[-4_000:])
    if failed:
        print(f"FAILED: {', '.join(failed)}; what led to it is in fuzz-<target>-crash-*")
    return 1 if failed else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
