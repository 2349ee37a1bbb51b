"""Forward passes, chat and serving of random networks on a real device; writes workloads.md.

    python benchmarks/workloads.py measure gpt-s llama-s --count 120 --energy 30 --seconds 500
    python benchmarks/workloads.py merge FOLDER
    python benchmarks/workloads.py report

``measure`` measures the first ``--count`` of each space's sample, one space after the other, each
with its share of the seconds, and appends a row for each network to a CSV of the space in
``--out``. Values that are there, or in ``benchmarks/workloads/``, are not measured again, but the
first ten networks of the sample, the anchors, are measured in every piece. It needs numpy and
torch alone; hwnas need not be installed, ``PYTHONPATH=.`` does. ``--device cpu --small`` tries it.
``merge`` moves the rows of a folder into ``benchmarks/workloads/``; ``report`` writes the page and
its plot from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from workloads_rows import FOLDER, SPACES, merge

HERE = Path(__file__).parent


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="task", required=True)
    sub = commands.add_parser("measure", help="measure networks and append rows")
    sub.add_argument("spaces", nargs="+", choices=SPACES, metavar="SPACE", help=", ".join(SPACES))
    sub.add_argument("--count", type=int, default=120, help="networks of each space")
    sub.add_argument("--energy", type=int, default=30, help="the first so many with energies")
    sub.add_argument("--seconds", type=float, default=500.0, help="nothing is begun after them")
    sub.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSVs")
    sub.add_argument("--device", default="cuda")
    sub.add_argument("--small", action="store_true", help="tiny networks, to try the script")
    sub = commands.add_parser("merge", help="add the rows of a folder to those of the page")
    sub.add_argument("folder", type=Path)
    sub = commands.add_parser("report", help="write the page and its plot")
    sub.add_argument("--rows", type=Path, default=FOLDER, help="folder of the CSVs")
    sub.add_argument("--to", type=Path, default=HERE / "workloads.md")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what a command line says."""
    options = parser().parse_args(arguments)
    # Measuring needs torch, reporting matplotlib; neither needs the other's.
    if options.task == "measure":
        from workloads_measure import measure

        measure(
            options.spaces,
            count=options.count,
            n_energies=options.energy,
            seconds=options.seconds,
            out=options.out,
            device=options.device,
            small=options.small,
        )
    elif options.task == "merge":
        merge(options.folder, FOLDER)
    else:
        from workloads_report import write_page

        write_page(options.rows, options.to)


if __name__ == "__main__":
    main()
