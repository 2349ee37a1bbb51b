"""Export of a comparison to Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.problem_comparison import ProblemComparison
from hwnas.reports.comparison.tables import pairwise_table, problem_table, rank_table

_METRIC_COLUMN = 3  # of the comparison's metric in `problem_table`
# Comparison signs and bars need math mode in the default font encoding.
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown: tables of problems, ranks and tests, and the notes.

    The best mean is bold; means that are not significantly worse have a star.
    """
    parts = []
    for problem in comparison.problems:
        header, rows = problem_table(comparison, problem)
        # Escape before marking, so that the marks themselves are not escaped.
        rows = _mark_leaders(comparison, problem, rows, _escape_markdown, "**{}**", r"\*")
        parts += [f"**{_escape_markdown(problem.name)}**, relative to: {problem.standard}"]
        parts += [_markdown_table(header, rows)]
    parts.append(_legend(comparison, "**bold**", r"\*"))
    for title, header, rows in _overall_tables(comparison):
        parts += [title, _markdown_table(header, _escape_rows(rows, _escape_markdown))]
    parts += ["\n".join(f"- {_escape_markdown(note)}" for note in comparison.notes)]
    return "\n\n".join(part for part in parts if part)


def latex(comparison: Comparison) -> str:
    r"""Return a comparison as LaTeX tabulars for the package booktabs, with notes as comments.

    The best mean is ``\textbf``; means that are not significantly worse have a star.
    """
    blocks, remarks = [], []
    header: list[str] = []
    # All problems share one tabular; the status column becomes comments.
    for problem in comparison.problems:
        columns, rows = problem_table(comparison, problem)
        header = columns[:-1]
        marked = _mark_leaders(comparison, problem, rows, escape_latex, r"\textbf{{{}}}", "$^{*}$")
        blocks.append((problem.name, [row[:-1] for row in marked]))
        remarks += [f"{problem.name}, relative to: {problem.standard}"]
        remarks += [f"{row[0]}: {row[-1]}" for row in rows if row[-1] != "done"]
    remarks.append(_legend(comparison, "bold", "*"))
    parts = [_latex_comments(remarks), _latex_tabular(header, blocks)]
    for title, columns, rows in _overall_tables(comparison):
        escaped = _escape_rows(rows, escape_latex)
        parts += [_latex_comments([title]), _latex_tabular(columns, [("", escaped)])]
    return "\n".join([*parts, _latex_comments(comparison.notes)]).rstrip("\n")


def escape_latex(text: str) -> str:
    r"""Escape the special characters of LaTeX.

    >>> print(escape_latex("nsga2_40 & 5 %"))
    nsga2\_40 \& 5 \%
    """
    return "".join(_LATEX_ESCAPES.get(character, character) for character in text)


def _escape_markdown(text: str) -> str:
    """Escape the special characters of Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_|<[" else character for character in text)


def _escape_rows(rows: list[list[str]], escape: Callable[[str], str]) -> list[list[str]]:
    """Escape all texts of a table."""
    return [list(map(escape, row)) for row in rows]


def _overall_tables(comparison: Comparison) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of the tables over all problems; none for one optimizer."""
    tables = [pairwise_table(comparison)] if comparison.pairs else []
    return [rank_table(comparison), *tables] if len(comparison.optimizers) > 1 else tables


def _legend(comparison: Comparison, bold: str, star: str) -> str:
    """Return the meaning of bold means and stars."""
    tested: list[str] = []
    untested: list[str] = []
    for problem in comparison.problems:
        best, equivalent = comparison.leaders(problem)
        # Only a problem with a worse optimizer has something to test.
        if len(problem.by_optimizer) > len(best):
            (untested if equivalent is None else tested).append(problem.name)
    legend = f"{bold}: best mean"
    if tested:
        legend += (
            f"; {star}: not significantly worse at {100 * comparison.level:g} % "
            "(Wilcoxon's signed-rank test over seeds, corrected by Holm)"
        )
    if untested:
        names = f" on {', '.join(untested)}" if tested else ""
        legend += f"; seeds are too few to test within a problem{names}"
    return legend


def _mark_leaders(
    comparison: Comparison,
    problem: ProblemComparison,
    rows: list[list[str]],
    escape: Callable[[str], str],
    bold: str,
    star: str,
) -> list[list[str]]:
    """Return escaped rows of `problem_table` with the best mean bold and equivalents starred."""
    best, equivalent = comparison.leaders(problem)
    marked = _escape_rows(rows, escape)
    for row, marked_row in zip(rows, marked, strict=True):
        if row[0] in best:
            marked_row[_METRIC_COLUMN] = bold.format(marked_row[_METRIC_COLUMN])
        elif row[0] in (equivalent or ()):
            marked_row[_METRIC_COLUMN] += star
    return marked


def _markdown_table(header: list[str], rows: list[list[str]]) -> str:
    # Columns of numbers are aligned to the right.
    ruler = ["--:" if _is_numeric(rows, j) else "---" for j in range(len(header))]
    lines = [[_escape_markdown(name) for name in header], ruler, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex_tabular(header: list[str], blocks: Sequence[tuple[str, list[list[str]]]]) -> str:
    """Return one tabular; a block of rows with a name has it as a title over all columns."""
    # Alignment is shared by all blocks of the tabular.
    all_rows = [row for _, rows in blocks for row in rows]
    alignment = "".join("r" if _is_numeric(all_rows, j) else "l" for j in range(len(header)))
    head = " & ".join(map(escape_latex, header)) + r" \\"
    lines = [f"\\begin{{tabular}}{{{alignment}}}", r"\toprule", head]
    for name, rows in blocks:
        lines.append(r"\midrule")
        if name:
            lines.append(f"\\multicolumn{{{len(header)}}}{{l}}{{{escape_latex(name)}}} \\\\")
        lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_comments(lines: Sequence[str]) -> str:
    return "\n".join(f"% {line}" for line in lines)


def _is_numeric(rows: list[list[str]], column: int) -> bool:
    """Return whether a column holds numbers, with or without marks of leaders."""
    texts = [row[column].removeprefix(r"\textbf{").strip("*") for row in rows]
    return all(text[:1].isdigit() or text[:1] in "-" or text in ("inf", "nan") for text in texts)
