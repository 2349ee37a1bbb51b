"""A comparison as text for a page or a paper: Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.problem_comparison import Contest
from hwnas.reports.comparison.tables import pairs, ranking, standings

_METRIC = 3  # the column of the comparison's metric in `standings`
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown(comparison: Comparison) -> str:
    """Tables of every problem, of mean ranks and of tests, and what to know of them.

    The best mean is bold; a star is at those that are not significantly worse.
    """
    parts = []
    for contest in comparison.contests:
        header, rows = standings(comparison, contest)
        rows = _marked(comparison, contest, rows, _plain, "**{}**", r"\*")
        parts += [f"**{_plain(contest.name)}**, relative to: {contest.standard}"]
        parts += [_markdown_table(header, rows)]
    parts.append(_legend(comparison, "**bold**", r"\*"))
    for title, header, rows in _overall(comparison):
        parts += [title, _markdown_table(header, _escaped(rows, _plain))]
    parts += ["\n".join(f"- {_plain(note)}" for note in comparison.notes)]
    return "\n\n".join(part for part in parts if part)


def latex(comparison: Comparison) -> str:
    r"""The same as tabulars for the package booktabs; what to know of them is in comments.

    The best mean is ``\textbf``; a star is at those that are not significantly worse.
    """
    blocks, said = [], []
    header: list[str] = []
    for contest in comparison.contests:
        full, rows = standings(comparison, contest)
        header = full[:-1]
        rows_marked = _marked(comparison, contest, rows, escape, r"\textbf{{{}}}", "$^{*}$")
        blocks.append((contest.name, [row[:-1] for row in rows_marked]))
        said += [f"{contest.name}, relative to: {contest.standard}"]
        said += [f"{row[0]}: {row[-1]}" for row in rows if row[-1] != "done"]
    said.append(_legend(comparison, "bold", "*"))
    parts = [_comments(said), _tabular(header, blocks)]
    for title, columns, rows in _overall(comparison):
        parts += [_comments([title]), _tabular(columns, [("", _escaped(rows, escape))])]
    return "\n".join([*parts, _comments(comparison.notes)]).rstrip("\n")


def escape(text: str) -> str:
    r"""A text as LaTeX shows it.

    >>> print(escape("nsga2_40 & 5 %"))
    nsga2\_40 \& 5 \%
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def _overall(comparison: Comparison) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of what is said over all problems, where there is anything."""
    tables = [pairs(comparison)] if comparison.pairs else []
    return [ranking(comparison), *tables] if len(comparison.optimizers) > 1 else tables


def _legend(comparison: Comparison, bold: str, star: str) -> str:
    tested: list[str] = []
    untested: list[str] = []
    for contest in comparison.contests:
        best, alike = comparison.leaders(contest)
        if len(contest.judged) > len(best):  # somebody is behind
            (untested if alike is None else tested).append(contest.name)
    said = f"{bold}: best mean"
    if tested:
        said += (
            f"; {star}: not significantly worse at {100 * comparison.level:g} % "
            "(Wilcoxon's signed-rank test over seeds, corrected by Holm)"
        )
    if untested:
        where = f" on {', '.join(untested)}" if tested else ""
        said += f"; seeds are too few to test within a problem{where}"
    return said


def _marked(
    comparison: Comparison,
    contest: Contest,
    rows: list[list[str]],
    escaped: Callable[[str], str],
    bold: str,
    star: str,
) -> list[list[str]]:
    """Rows of `standings` with the best mean bold and a star at those that are not worse."""
    best, alike = comparison.leaders(contest)
    marked = _escaped(rows, escaped)
    for row, shown in zip(rows, marked, strict=True):
        if row[0] in best:
            shown[_METRIC] = bold.format(shown[_METRIC])
        elif row[0] in (alike or ()):
            shown[_METRIC] += star
    return marked


def _escaped(rows: list[list[str]], how: Callable[[str], str]) -> list[list[str]]:
    return [list(map(how, row)) for row in rows]


def _markdown_table(header: list[str], rows: list[list[str]]) -> str:
    ruler = ["--:" if _numeric(rows, j) else "---" for j in range(len(header))]
    cells = [[_plain(name) for name in header], ruler]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells + rows)


def _tabular(header: list[str], blocks: Sequence[tuple[str, list[list[str]]]]) -> str:
    """One tabular; blocks of rows have a title over all columns where they have a name."""
    every = [row for _, rows in blocks for row in rows]
    look = "".join("r" if _numeric(every, j) else "l" for j in range(len(header)))
    lines = [f"\\begin{{tabular}}{{{look}}}", r"\toprule", " & ".join(map(escape, header)) + r" \\"]
    for name, rows in blocks:
        lines.append(r"\midrule")
        if name:
            lines.append(f"\\multicolumn{{{len(header)}}}{{l}}{{{escape(name)}}} \\\\")
        lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _numeric(rows: list[list[str]], column: int) -> bool:
    """Whether a column holds numbers, of which marks are a part."""
    cells = [row[column].removeprefix(r"\textbf{").strip("*") for row in rows]
    return all(cell[:1].isdigit() or cell[:1] in "-" or cell in ("inf", "nan") for cell in cells)


def _comments(lines: Sequence[str]) -> str:
    return "\n".join(f"% {line}" for line in lines)


def _plain(text: str) -> str:
    """A text as Markdown shows it."""
    return "".join(f"\\{character}" if character in "\\`*_|<[" else character for character in text)
