"""Export of a comparison to Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.problem_comparison import ProblemComparison
from hwnas.reports.comparison.quality_indicators import METRICS, metric_in_prose
from hwnas.reports.comparison.tables import overall_tables, problem_table


def markdown(comparison: Comparison, columns: Sequence[str] | None = None) -> str:
    """Return a comparison as Markdown: tables of problems, ranks or differences, and the notes.

    The best mean of each indicator is bold; means of the comparison's metric that are not clearly
    worse have a star.

    Parameters
    ----------
    columns
        See `hwnas.reports.comparison.tables.problem_table`.
    """
    parts = []
    for problem in comparison.problems:
        header, rows = problem_table(comparison, problem, columns)
        # Escape before marking, so that the marks themselves are not escaped.
        rows = mark_leaders(comparison, problem, header, rows, _escape, "**{}**", r"\*")
        parts += [f"**{_escape(problem.name)}**, relative to: {problem.standard}"]
        parts += [markdown_table(header, rows)]
    parts.append(legend(comparison, "**bold**", r"\*"))
    for title, header, rows in overall_tables(comparison):
        parts += [_escape(title), markdown_table(header, [list(map(_escape, row)) for row in rows])]
    parts += ["\n".join(f"- {_escape(note)}" for note in comparison.notes)]
    return "\n\n".join(part for part in parts if part)


def legend(comparison: Comparison, bold: str, star: str) -> str:
    """Return the meaning of bold means and stars."""
    tested: list[str] = []
    untested: list[str] = []
    for problem in comparison.problems:
        best, close = comparison.leaders(problem)
        # Only a problem with a worse optimizer has something to compare.
        if len(problem.by_optimizer) > len(best):
            (untested if close is None else tested).append(problem.name)
    text = f"{bold}: best mean"
    if tested:
        text += (
            f"; {star}: not clearly worse by {metric_in_prose(comparison.metric)}, because the "
            f"{100 * (1 - comparison.level):g} % interval of the difference to the best, seed to "
            "seed on this problem, contains 0"
        )
    if untested:
        names = f" on {', '.join(untested)}" if tested else ""
        text += f"; seeds are too few to compare means within a problem{names}"
    return text


def mark_leaders(
    comparison: Comparison,
    problem: ProblemComparison,
    header: list[str],
    rows: list[list[str]],
    escape: Callable[[str], str],
    bold: str,
    star: str,
) -> list[list[str]]:
    """Return escaped rows of `problem_table` with best means bold and stars in the metric."""
    _, close = comparison.leaders(problem)
    marked = [list(map(escape, row)) for row in rows]
    for column, name in enumerate(header):
        if name not in METRICS:
            continue
        best = comparison.best(problem, name)
        for row, marked_row in zip(rows, marked, strict=True):
            if row[0] in best:
                marked_row[column] = bold.format(marked_row[column])
            elif name == comparison.metric and row[0] in (close or ()):
                marked_row[column] += star
    return marked


def is_numeric(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Return whether a column holds numbers, with or without marks of leaders."""
    texts = [row[column].removeprefix(r"\textbf{").strip("*") for row in rows]
    return all(text[:1].isdigit() or text[:1] in "-" or text in ("inf", "nan") for text in texts)


def _escape(text: str) -> str:
    """Escape the special characters of Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_|<[" else character for character in text)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table of escaped cells, columns of numbers to the right."""
    # Columns of numbers are aligned to the right.
    ruler = ["--:" if is_numeric(rows, j) else "---" for j in range(len(header))]
    lines = [[_escape(name) for name in header], ruler, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
