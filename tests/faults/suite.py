"""All faults, injected into runs of every optimizer and executor: ``make faults``.

    python tests/faults/suite.py [--only REGEX] [--executors serial process ray]

REGEX is matched with ``FAULT OPTIMIZER EXECUTOR``. Prints what is lost as it happens, then a table
of the faults that were injected, survived and lost; exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hwnas import registry

sys.path.insert(0, str(Path(__file__).parent))
from scenarios import SCENARIOS, WITH_EVERY_OPTIMIZER, Bench, NotInjected


def main() -> None:
    """Parse the command line and inject the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--executors", nargs="*", default=["serial", "process", "ray"])
    arguments = parser.parse_args()
    executors = set(arguments.executors)
    if "ray" in executors and importlib.util.find_spec("ray") is None:
        print("ray is not installed: no fault is injected there")
        executors.discard("ray")
    counts: dict[tuple[str, str], Counter[str]] = {}
    for fault, (scenario, places) in SCENARIOS.items():
        optimizers = ["random", "nsga2"]
        if fault in WITH_EVERY_OPTIMIZER:
            optimizers = registry.names("optimizer")
        for executor in (place for place in places if place in executors):
            for optimizer in optimizers:
                if not re.search(arguments.only, f"{fault} {optimizer} {executor}"):
                    continue
                count = counts.setdefault((fault, executor), Counter())
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        lost = scenario(Bench(Path(folder), optimizer, executor))
                    except NotInjected as reason:
                        print(f"{fault}, {optimizer}, {executor}: {reason}", flush=True)
                        continue
                count["injected"] += 1
                count["lost" if lost else "survived"] += 1
                if lost:
                    print(f"{fault}, {optimizer}, {executor}: {lost}", flush=True)
    print(f"{'fault':32}{'executor':10}{'injected':>9}{'survived':>9}{'lost':>6}")
    for (fault, executor), count in counts.items():
        print(f"{fault:32}{executor:10}{count['injected']:9}{count['survived']:9}{count['lost']:6}")
    total = sum(counts.values(), Counter())
    print(f"{'all':42}{total['injected']:9}{total['survived']:9}{total['lost']:6}")
    sys.exit(total["lost"] > 0)


if __name__ == "__main__":
    main()
