"""Convert checkpoints: python scripts/convert.py to ours SRC OUT (or: to rosinality, inspect, verify ...)"""

import _start  # noqa: F401

# isort: split

from options.commands.convert import Convert
from options.parse import run
from options.results import check_new
from psp.convert import inspect, verify
from psp.convert.conversion import write_official, write_ours, write_rosinality
from stylegan2.runtime.device import tune_process
from stylegan2.runtime.errors import UserError

WRITERS = {"to official-psp": write_official, "to rosinality": write_rosinality, "to ours": write_ours}


def write(o: Convert) -> int:
    """Convert a file, and return the exit code."""
    check_new((o.out,), o.overwrite)
    for line in WRITERS[o.command](o.source, o.out):
        print(line, flush=True)
    return 0


def show(o: Convert) -> int:
    """Print a description of a file, and return the exit code."""
    print("\n".join(inspect(o.source)))
    return 0


def check(o: Convert) -> int:
    """Print whether each output of a file agrees with the published formulas; return 0 if all do, else 1."""
    passed = True
    for result in verify(o.source):
        print(f"{'ok  ' if result.passed else 'FAIL'} {result.text}", flush=True)
        passed &= result.passed
    return 0 if passed else 1


def main(options: Convert) -> int:
    tune_process()
    if not options.source.exists() and options.command == "verify":
        raise UserError(f"there is no file {str(options.source)!r}")
    return {**dict.fromkeys(WRITERS, write), "inspect": show, "verify": check}[options.command](options)


if __name__ == "__main__":
    run(main, Convert)
