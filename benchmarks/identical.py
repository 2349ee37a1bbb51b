"""Run one experiment with one worker and with two, and compare every trial.

    python benchmarks/identical.py [--evaluations 300] [--noise]

The second run also has another number of threads in its environment. Prints a line an optimizer;
exits with 1 when any trial differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from kill import difference, started, trials_of

from hwnas import registry

YAML = """\
name: identical
space: gpt-s
objectives: [perplexity, latency@rtx3080]
optimizers: [{optimizers}]
budget: {{evaluations: {evaluations}}}
noise: {noise}
seeds: 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--noise", action="store_true")
    chosen = parser.parse_args()
    optimizers = registry.names("optimizer")
    text = YAML.format(
        optimizers=", ".join(optimizers),
        evaluations=chosen.evaluations,
        noise=str(chosen.noise).lower(),
    )
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        file, serial, parallel = (Path(folder, name) for name in ("identical.yaml", "one", "two"))
        file.write_text(text)
        assert started("run", str(file), "--out", str(serial)).wait() == 0
        arguments = ("run", str(file), "--out", str(parallel), "--workers", "2")
        assert started(*arguments, threads=2).wait() == 0
        for optimizer in optimizers:
            trials = trials_of(parallel, optimizer)
            differs = difference(trials, trials_of(serial, optimizer))
            print(f"{optimizer}: {len(trials)} trials, differs in {differs or 'nothing'}")
            wrong |= bool(differs)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
