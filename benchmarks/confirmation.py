"""Outside confirmation: pairs of networks of equal perplexity, decoded by other software.

    PYTHONPATH=. python benchmarks/confirmation.py measure --seconds 540 --out FOLDER
    PYTHONPATH=. python benchmarks/confirmation.py measure --device cpu --small --out FOLDER
    python benchmarks/confirmation.py gguf --seconds 1200 [--batch 8] [--spaces gpt-s]
    python benchmarks/confirmation.py report

Ten pairs, five of gpt-s and five of gpt-l: the first network is on the front of perplexity and the
time of a forward pass, the second on that of decoding (``tpot.serve``), and its published
perplexity is at most the first's. ``benchmarks/workloads.py pairs`` chose them. Their weights are
random, which changes no time.

``measure`` writes ``cuda.csv`` or ``cpu.csv``, a row for each network and way to decode: our own
generator; the exported network in transformers with a static cache, its step as a CUDA graph; as
its user calls it, ``model.generate``, with the default cache; and, in the time that is left, with
``cache_implementation="static"``, which compiles. It needs numpy, torch and transformers alone,
and hwnas need not be installed. Rows that are in the CSV are not measured again.

``gguf`` does the same on a CPU for the networks' Llama twins in llama.cpp and writes ``gguf.csv``;
it needs gguf and llama-cpp-python, which pip builds from source. ``report`` writes
``confirmation.md`` from the CSVs in ``benchmarks/confirmation/``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from confirmation_rows import FOLDER, SPACES

sys.path.append(sys.path.pop(0))  # this folder last, so that no script in it hides a library


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="task", required=True)
    sub = commands.add_parser("measure", help="measure in transformers, and our own generator")
    sub.add_argument("--seconds", type=float, default=540.0, help="nothing is begun after them")
    sub.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV")
    sub.add_argument("--device", default="cuda")
    sub.add_argument("--small", action="store_true", help="short work, to try the script")
    sub = commands.add_parser("gguf", help="measure in llama.cpp, and our own generator")
    sub.add_argument("--seconds", type=float, default=1200.0, help="nothing is begun after them")
    sub.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV")
    sub.add_argument("--batch", type=int, default=64, help="sequences at once")
    sub.add_argument("--spaces", nargs="+", default=["gpt-s"], choices=SPACES, metavar="SPACE")
    sub = commands.add_parser("report", help="write the page")
    sub.add_argument("--rows", type=Path, default=FOLDER, help="folder of the CSVs")
    sub.add_argument("--to", type=Path, default=FOLDER.with_suffix(".md"))
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what a command line says."""
    options = vars(parser().parse_args(arguments))
    task = options.pop("task")
    if task == "measure":
        from confirmation_transformers import measure

        measure(**options)
    elif task == "gguf":
        from confirmation_gguf import measure_gguf

        measure_gguf(**options)
    else:
        from confirmation_report import write_page

        write_page(options["rows"], options["to"])


if __name__ == "__main__":
    main()
