"""Bytes nobody would send, for minutes: ``python -m bench.fuzz [--seconds 60] [--seed 1] [--only wire]``.

With atheris installed it is led by coverage, and what reaches new code is kept in ``.fuzz/``; without, every input
comes from the grammar and a number. Exit status 1 when something was found: put its file into the corpus, which the
tests read.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".fuzz"
TARGETS = {"wire": ROOT / "tests" / "wire", "server": ROOT / "tests" / "hardening"}
INSTRUMENTED = {
    "wire": ["bff_core.wire", "h11"],
    "server": ["bff_core.hardening", "bff_core.server", "h11"],
}
MOST = 16 * 1024

Check = Callable[[bytes], object]
Make = Callable[[Random], bytes]


def target(name: str) -> tuple[Check, Make]:
    """What checks an input, and what makes one."""
    room = ".".join(TARGETS[name].relative_to(ROOT).parts)
    fuzzing = importlib.import_module(f"{room}.fuzzing")
    grammar = importlib.import_module(f"{room}.grammar")
    return fuzzing.check_bytes, grammar.wrong_bytes


def with_atheris(atheris: Any, name: str, seconds: int, seed: int) -> None:
    """Does not come back: atheris ends the process, with status 77 when it found something."""
    with atheris.instrument_imports(include=INSTRUMENTED[name]):
        check, make = target(name)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        if random.randrange(3) == 0:
            return make(random)[:most]
        return bytes(atheris.Mutate(data, most))

    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MOST}", f"-artifact_prefix={KEPT}/{name}-",
        "-timeout=20",
    ]  # fmt: skip
    atheris.Setup([name, *options, str(kept), str(TARGETS[name] / "corpus")], check, custom_mutator=mutate)
    atheris.Fuzz()


def with_numbers(name: str, seconds: int, seed: int) -> None:
    """One input after the other from the grammar."""
    check, make = target(name)
    end, number = time.monotonic() + seconds, 0
    with Progress() as progress:
        task = progress.add_task(name, total=seconds)
        while (left := end - time.monotonic()) > 0:
            for number in range(number, number + 200):  # noqa: B020 - goes on where it was
                data = make(Random(f"{seed} {number}"))
                try:
                    check(data)
                except Exception:
                    KEPT.mkdir(exist_ok=True)
                    (KEPT / f"{name}-crash-{seed}-{number}").write_bytes(data)
                    raise
            number += 1
            progress.update(task, completed=seconds - left, description=f"{name} {number} inputs")


def main() -> None:
    """Each target in a process of its own, for an equal part of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        try:
            atheris = importlib.import_module("atheris")
        except ImportError:
            with_numbers(arguments.only, arguments.seconds, arguments.seed)
        else:
            with_atheris(atheris, arguments.only, arguments.seconds, arguments.seed)
        return
    console = Console()
    names = [arguments.only] if arguments.only else list(TARGETS)
    found = []
    for name in names:
        console.print(f"== {name}, seed {arguments.seed}")
        seconds = max(1, arguments.seconds // len(names))
        command = [sys.executable, "-m", "bench.fuzz", "--here", "--only", name]
        command += ["--seconds", str(seconds), "--seed", str(arguments.seed)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603 - ourselves
            found.append(name)
    if found:
        sys.exit(f"found something in {', '.join(found)}: see above and {KEPT}")
    console.print("nothing found")


if __name__ == "__main__":
    main()
