"""Process that compiles parts of models: ``python -m hwnas.profiling.training.compile_worker``.

It reads a part from each line of its input, compiles it into torch's cache on disk, and answers
with one line: empty, or the reason why the part cannot be compiled.
"""

from __future__ import annotations

import os
import sys

from hwnas.profiling.training.parts import Part, compile_part


def main() -> None:
    """Compile parts until the input ends."""
    # Compilers may print; only answers go to the original output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        reason = ""
        try:
            compile_part(Part.from_json(line))
        except Exception as error:  # the parent decides what follows from it
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        print(reason, file=answers, flush=True)


if __name__ == "__main__":
    main()
