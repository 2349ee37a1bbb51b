"""Forward passes, chat and serving of random networks on a real device; writes workloads.md.

    python benchmarks/workloads.py measure gpt-s llama-s --count 120 --energy 30 --seconds 500
    python benchmarks/workloads.py processes gpt-s --count 4 --seconds 30
    python benchmarks/workloads.py merge FOLDER
    python benchmarks/workloads.py pairs gpt-s gpt-l --count 12
    python benchmarks/workloads.py check gpt-s gpt-l --seconds 100
    python benchmarks/workloads.py report

``measure`` measures the first ``--count`` of each space's sample, one space after the other, each
with its share of the seconds, and appends a row for each network to a CSV of the space in
``--out``. What this card has there, or in ``benchmarks/workloads/``, is not measured again, but the
first ten networks of the sample, the anchors, are measured in every piece. It needs numpy and
torch alone; hwnas need not be installed, ``PYTHONPATH=.`` does. ``--device cpu --small`` tries it.
``processes`` measures the first networks again in five fresh processes on one board.
``merge`` adds the rows of a folder to those in ``benchmarks/workloads/``. ``pairs`` chooses from
those rows networks on the fronts of gpt-s and gpt-l: pairs of equal perplexity, one found for the
forward pass and one for serving; ``check`` measures them as ``measure`` does. ``report`` writes the
page and its plot.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from workloads_rows import FOLDER, SPACES, WITH_PERPLEXITY, merge

HERE = Path(__file__).parent


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="task", required=True)
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--seconds", type=float, default=500.0, help="nothing is begun after them")
    device.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSVs")
    device.add_argument("--device", default="cuda")
    device.add_argument("--small", action="store_true", help="short work, to try the script")
    sub = commands.add_parser("measure", parents=[device], help="measure random networks")
    sub.add_argument("spaces", nargs="+", choices=SPACES, metavar="SPACE", help=", ".join(SPACES))
    sub.add_argument("--count", type=int, default=120, help="networks of each space")
    sub.add_argument("--energy", type=int, default=30, help="the first so many with energies")
    sub = commands.add_parser("processes", parents=[device], help="repeat in fresh processes")
    sub.add_argument("spaces", nargs="+", choices=SPACES, metavar="SPACE")
    sub.add_argument("--processes", type=int, default=5)
    sub.add_argument("--count", type=int, default=4, help="networks, two of them with energies")
    sub = commands.add_parser("check", parents=[device], help="measure networks on fronts")
    sub.add_argument("spaces", nargs="+", choices=WITH_PERPLEXITY, metavar="SPACE")
    sub = commands.add_parser("pairs", help="choose networks on fronts")
    sub.add_argument("spaces", nargs="+", choices=WITH_PERPLEXITY, metavar="SPACE")
    sub.add_argument("--count", type=int, default=12, help="pairs of each space")
    sub.add_argument("--rows", type=Path, default=FOLDER, help="folder of the CSVs")
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
    if options.task in ("measure", "processes", "check"):
        settings = {key: getattr(options, key) for key in ("seconds", "out", "device", "small")}
    if options.task == "measure":
        from workloads_measure import measure

        measure(options.spaces, count=options.count, n_energies=options.energy, **settings)
    elif options.task == "processes":
        from workloads_processes import measure_in_processes

        for space in options.spaces:
            measure_in_processes(
                space, processes=options.processes, count=options.count, **settings
            )
    elif options.task == "check":
        from workloads_check import check

        check(options.spaces, **settings)
    elif options.task == "pairs":
        from workloads_pairs import choose_pairs

        choose_pairs(options.spaces, count=options.count, folder=options.rows)
    elif options.task == "merge":
        merge(options.folder, FOLDER)
    else:
        from workloads_report import write_page

        write_page(options.rows, options.to)


if __name__ == "__main__":
    main()
