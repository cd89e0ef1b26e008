"""Fuzz for as long as one likes: `PYTHONPATH=tests python -m fuzz.python.run [--seconds N] [--seed N] [TARGET...]`.

Each processor has a target at a time. Findings are written to the current directory. With `--atheris` libFuzzer does
the work, if that package is installed; its options follow after `--`.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fuzz.python.engine import Report, Target, fuzz
from fuzz.python.targets import targets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true", help="with libFuzzer; one target")
    parser.add_argument("target", nargs="*", choices=[[], *targets()], help="all when none is named")
    words = sys.argv[1:]
    rest = words[words.index("--") + 1 :] if "--" in words else []
    args = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    names = args.target or list(targets())
    if args.atheris:
        with_atheris(targets()[names[0]], rest)
    status = 0
    run = functools.partial(fuzz_named, seconds=args.seconds, seed=args.seed)
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for name, report in zip(names, pool.map(run, names), strict=True):
            print(f"{name}: {report}", flush=True)
            for data, problem in report.findings:
                path = Path(f"finding-{name}-{hashlib.sha256(data).hexdigest()[:12]}")
                path.write_bytes(data)
                print(f"  {path}: {problem}")
                status = 1
    return status


def fuzz_named(name: str, seconds: float, seed: int) -> Report:
    """Fuzz one target in the process this is called in."""
    return fuzz(targets()[name], seconds=seconds, seed=seed)


def with_atheris(target: Target, words: list[str]) -> None:
    """Hand over to libFuzzer, which does not come back."""
    import atheris

    def test_one_input(data: bytes) -> None:
        try:
            target.run(data)
        except target.allowed:
            pass

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        changed = bytearray(atheris.Mutate(data, most))
        if target.repair is not None and seed % 10:
            target.repair(changed)
        return bytes(changed)

    corpus = tempfile.mkdtemp(prefix="appc-fuzz-")
    for number, seed in enumerate(target.seeds):
        Path(corpus, str(number)).write_bytes(seed)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *words, corpus], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
