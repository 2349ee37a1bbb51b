"""Export of a comparison to LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from hwnas.errors import InvalidInput
from hwnas.reports.comparison.comparison import Comparison
from hwnas.reports.comparison.export import is_numeric, legend, mark_leaders
from hwnas.reports.comparison.notes import format_count
from hwnas.reports.comparison.quality_indicators import LARGER_IS_BETTER, METRICS
from hwnas.reports.comparison.tables import overall_tables, problem_table

# Comparison signs and bars need math mode in the default font encoding.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_METRIC_HEADERS = {
    "normalised": "normalized HV",
    "hypervolume": "HV",
    "igd_plus": "IGD$^{+}$",
    "epsilon": r"$\epsilon$",
    "r2": "R2",
}
_PAGE_ROWS = 36  # of a table in small print, with a caption and notes
# A title over all columns, in a box without width, so that a long one does not stretch the last.
_TITLE = (
    r"\multicolumn{%d}{l}{\makebox[0pt][l]{\parbox[t]{\dimexpr\linewidth-2\tabcolsep}"
    r"{\raggedright\strut %s\strut}}} \\"
)
_LABEL_SUFFIXES = {"rank": "ranks", "better": "pairs"}  # by the first column of a table

_Block = tuple[str, list[list[str]]]  # name of a problem, and escaped rows


def latex(
    comparison: Comparison,
    columns: Sequence[str] | None = None,
    *,
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""Return a comparison as LaTeX tables for the package booktabs.

    The first table has the optimizers on all problems, with the notes below it; mean ranks and
    tests, or differences seed to seed, follow in tables of their own. Bold and stars are those of
    `hwnas.reports.comparison.export.markdown`.

    Parameters
    ----------
    columns
        See `hwnas.reports.comparison.tables.problem_table`; seeds, the metric and distances by
        default, which fit on a page.
    caption
        Plain text in place of the caption of the first table.
    label
        Label of the first table; those of the others start with it.

    Raises
    ------
    UnknownName
        There is no such column.
    InvalidInput
        The label has characters other than letters, digits and ``:._+/-``.
    """
    name = default_label(comparison) if label is None else label
    if not re.fullmatch(r"[A-Za-z0-9:._+/-]+", name):
        raise InvalidInput(f"--label {name}: expected letters, digits and :._+/- alone")
    title = default_caption(comparison) if caption is None else caption
    parts = ["% \\usepackage{booktabs}\n", *_problem_floats(comparison, columns, title, name)]
    labels: dict[str, int] = {}
    for text, header, rows in overall_tables(comparison):
        escaped = [list(map(escape_latex, row)) for row in rows]
        # Several problems have a table of differences each: number their labels.
        suffix = _LABEL_SUFFIXES[header[0]]
        labels[suffix] = labels.get(suffix, 0) + 1
        number = f"-{labels[suffix]}" if labels[suffix] > 1 else ""
        parts += _floats(
            list(map(escape_latex, header)),
            [("", escaped)],
            _sentence(text),
            f"{name}-{suffix}{number}",
        )
    return "\n".join(parts).rstrip("\n")


def default_caption(comparison: Comparison) -> str:
    """Return the caption of the table of problems, as plain text."""
    problems = comparison.problems
    subject = format_count(len(problems), "problems")
    if len(problems) == 1:
        subject = f"{problems[0].name}, relative to: {problems[0].standard}"
    budget = "" if comparison.at is None else f" after {comparison.at} evaluations"
    return f"Quality of the fronts{budget} on {subject}. Means ± standard deviations over seeds."


def default_label(comparison: Comparison) -> str:
    """Return a label made from the name of the problem, or for several problems a general one.

    The label of the problem ``perplexity, latency@h100 on gpt-s`` is
    ``tab:perplexity-latency-h100-on-gpt-s``.
    """
    if len(comparison.problems) > 1:
        return "tab:comparison"
    return "tab:" + "-".join(re.findall(r"[a-z0-9]+", comparison.problems[0].name.lower()))


def escape_latex(text: str) -> str:
    r"""Escape the special characters of LaTeX.

    >>> print(escape_latex("nsga2_40 & 5 %"))
    nsga2\_40 \& 5 \%
    """
    return "".join(_ESCAPES.get(character, character) for character in text)


def _problem_floats(
    comparison: Comparison, columns: Sequence[str] | None, caption: str, label: str
) -> list[str]:
    """Return the table of all problems, with the legend and the notes below it."""
    if columns is None:
        distances = [name for name in ("igd_plus", "epsilon") if name != comparison.metric]
        columns = ("seeds", comparison.metric, *distances)
    blocks = []
    header: list[str] = []
    # All problems share one header, also where their constraints differ.
    slacks = dict.fromkeys(name for p in comparison.problems for name in p.slack_columns)
    for problem in comparison.problems:
        header, rows = problem_table(comparison, problem, columns, tuple(slacks))
        marked = mark_leaders(
            comparison, problem, header, rows, escape_latex, r"\textbf{{{}}}", "$^{*}$"
        )
        # The caption has the name of a single problem.
        name = f"{problem.name}, relative to: {problem.standard}"
        blocks.append((name if len(comparison.problems) > 1 else "", marked))
    remarks = [legend(comparison, "bold", "*")]
    if {"normalised", "hypervolume"} & set(header):
        remarks[0] += "; HV: hypervolume"
    names = {row[0] for _, rows in blocks for row in rows}
    names |= {escape_latex(problem.name) for problem in comparison.problems}
    remarks = [_sentence(remarks[0]), *(_note(note, names) for note in comparison.notes)]
    return _floats(list(map(_header, header)), blocks, caption, label, remarks)


def _header(name: str) -> str:
    """Return the header of a column; an arrow points to better values of an indicator."""
    if name not in METRICS:
        return escape_latex(name)
    arrow = r"$\uparrow$" if name in LARGER_IS_BETTER else r"$\downarrow$"
    return f"{_METRIC_HEADERS[name]} {arrow}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _note(note: str, names: Iterable[str]) -> str:
    """Return a note as a sentence; one that begins with a name keeps its small letter."""
    begins_with_name = any(escape_latex(note).startswith(f"{name}: ") for name in names)
    return f"{note}." if begins_with_name else _sentence(note)


def _floats(
    header: list[str],
    blocks: Sequence[_Block],
    caption: str,
    label: str,
    remarks: Sequence[str] = (),
) -> list[str]:
    """Return a table as floats that fit on a page, with a caption above and remarks below.

    Later floats of a long table have the same caption, continued; remarks are below the last.
    """
    # Alignment is shared by all blocks.
    all_rows = [row for _, rows in blocks for row in rows]
    alignment = "".join("r" if is_numeric(all_rows, j) else "l" for j in range(len(header)))
    pages = list(_pages(blocks))
    floats = []
    for i, page in enumerate(pages):
        lines = [r"\begin{table}", r"\centering\small\setlength{\tabcolsep}{4pt}"]
        # A continued table keeps its number.
        lines += [r"\addtocounter{table}{-1}"] if i else []
        text = f"{caption} (Continued.)" if i else caption
        lines += [r"\setlength{\belowcaptionskip}{6pt}", f"\\caption{{{escape_latex(text)}}}"]
        lines += [f"\\label{{{label}{f'-{i + 1}' if i else ''}}}"]
        lines += _tabular(header, alignment, page)
        if remarks and i == len(pages) - 1:
            notes = [f"{escape_latex(remark)}\\par" for remark in remarks]
            lines += [
                r"\par\medskip",
                r"\begin{minipage}{\linewidth}",
                r"\footnotesize\raggedright",
            ]
            lines += [*notes, r"\end{minipage}"]
        floats.append("\n".join([*lines, r"\end{table}", ""]))
    return floats


def _pages(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Yield blocks for each page, at most `_PAGE_ROWS` rows; a longer block is cut."""
    page: list[_Block] = []
    n_rows = 0
    for name, rows in blocks:
        for start in range(0, len(rows), _PAGE_ROWS - 1):
            piece = rows[start : start + _PAGE_ROWS - 1]
            if page and n_rows + len(piece) + 1 > _PAGE_ROWS:
                yield page
                page, n_rows = [], 0
            page.append((name, piece))
            n_rows += len(piece) + 1
    yield page


def _tabular(header: list[str], alignment: str, blocks: Sequence[_Block]) -> list[str]:
    """Return the lines of one tabular; a block with a name has it as a title over all columns."""
    environment, options = "tabular", ""
    # Titles are wrapped at the width of the page, so the table takes all of it.
    if any(name for name, _ in blocks):
        environment, options = "tabular*", r"{\linewidth}"
        alignment = rf"@{{\extracolsep{{\fill}}}}{alignment}"
    lines = [rf"\begin{{{environment}}}{options}{{{alignment}}}", r"\toprule"]
    lines.append(" & ".join(header) + r" \\")
    for name, rows in blocks:
        lines.append(r"\midrule")
        if name:
            lines.append(_TITLE % (len(header), escape_latex(name)))
        lines += [" & ".join(row) + r" \\" for row in rows]
    return [*lines, r"\bottomrule", rf"\end{{{environment}}}"]
