"""HTML page of a reproduction: verdicts on claims, faults of the published scripts, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hwnas.reports.summary_table import summary_table
from hwnas.reproductions.claim import Claim
from hwnas.reproductions.figures import FIGURES
from hwnas.reproductions.plan import format_duration
from hwnas.reproductions.results import ReproductionResults

# Faults of the published scripts that change results: fault, mechanism, place. The scripts are in
# github.com/automl/HW-GPT-Bench.
FAULTS = (
    (
        "bias=False is never tried",
        "the option is declared with type=bool, which converts every non-empty text to True",
        "baselines/gpt_objective_2d.py",
    ),
    (
        "EHVI is random search",
        "losses keep their sign although BoTorch maximizes, and the reference point lies above all "
        "of them: the acquisition function is 0 everywhere",
        "syne-tune's legacy_expected_hyper_volume_improvement.py",
    ),
    (
        "MOASHA is random search",
        "a trial reports once, so it cannot be stopped early; the seed has no effect",
        "baselines/run_nas_gpt_2d.py",
    ),
    (
        "RSBO never changes its weights",
        "every proposal draws weights with the same seed, so a run has one scalarization",
        "syne-tune 0.13, random_scalarization.py",
    ),
    (
        "NSGA-II changes half of an architecture at once",
        "pymoo 0.6 treats each choice as a problem of one variable, and mutates it with "
        "probability 0.5",
        "syne-tune 0.13, NSGA2Searcher; pymoo 0.6.0, core/mixed.py",
    ),
    (
        "values are single noisy draws",
        "archives keep favorable draws, and fronts and hypervolumes are computed from them",
        "lib/utils.py",
    ),
    (
        "inactive layers are searched",
        "one architecture has many encodings, and a mutation may change nothing but the noise",
        "baselines/run_nas_gpt_2d.py",
    ),
    (
        "budgets are times",
        "each search has 48,000 s, in which slower methods evaluate less",
        "scripts/baselines",
    ),
    (
        "bands of hypervolume are too narrow",
        "the standard deviation is divided by the root of the number of evaluations, not of runs",
        "plotting/eaf/plot_surface.py",
    ),
)

# Colors follow the light or dark theme of the browser; figures stay on white.
_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --faint: #666; --back: #fff; --ink: #1a1a1a }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --faint: #aaa; --back: #16181c; --ink: #e8e8e8 }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem;
  background: var(--back); color: var(--ink) }
h1 { line-height: 1.2 } h2 { margin-top: 3rem } h2, h3 { line-height: 1.25 }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto; background: #fff }
figcaption, .faint { color: var(--faint) }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left;
  vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
nav a { margin-right: 1rem; white-space: nowrap } code { font-size: .92em }
.verdict { font-weight: 600; white-space: nowrap }
"""


def render_page(
    reproduction: ReproductionResults,
    claims: Sequence[Claim],
    images: Mapping[str, Sequence[str]],
    *,
    quick: bool,
    missing: int,
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    reproduction
        Results of the experiments.
    claims
        Claims of the paper with their verdicts.
    images
        Files of each figure relative to the page, by the name of the figure.
    quick
        The experiments are the small selection.
    missing
        Number of experiments that have not been run.
    """
    # Figures that have not been drawn yet have no section.
    kinds = [name for name in FIGURES if images.get(name)]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>HW-GPT-Bench, reproduced</title><style>{_STYLE}</style></head><body>",
        "<h1>HW-GPT-Bench, reproduced</h1>",
        f"<p>{_introduction(reproduction, quick=quick, missing=missing)}</p>",
        _navigation(kinds, has_searches=bool(reproduction.results)),
        '<h2 id="claims">Claims of the paper, and verdicts</h2>',
        _claims_table(claims),
        '<h2 id="faults">Faults of the published scripts that change results</h2>',
        _html_table(
            ["fault", "mechanism", "place"],
            [[escape(text) for text in fault] for fault in FAULTS],
        ),
        "<p>They affect the paper's searches and figures. The searches here have none of them, "
        "except that MOASHA without noise has one rung as well.</p>",
        *(
            _figure_section(kind, images[kind], reproduction.notes if kind == "ranks" else ())
            for kind in kinds
        ),
        *_search_tables(reproduction),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _introduction(reproduction: ReproductionResults, *, quick: bool, missing: int) -> str:
    """Return the first paragraph, with the extent of the reproduction."""
    searches = [search for result in reproduction.results.values() for search in result.searches]
    text = (
        'The experiments and figures of <a href="https://arxiv.org/abs/2405.10299">'
        "HW-GPT-Bench</a> (Sukthanker et al. 2024), repeated with hwnas: "
        f"{len(reproduction.results)} experiments, {len(searches)} searches"
    )
    if searches:
        seconds = sum(float(s.trials.elapsed[-1]) for s in searches if len(s.trials))
        text += f", {format_duration(seconds)} of searching"
    text += (
        ". Exact fronts are known, so the maximum of the normalized hypervolume is 1. The claims "
        "are those of the paper's abstracts and of its published scripts; its tables are not "
        "compared."
    )
    # Limitations of this reproduction.
    if quick:
        text += (
            " <strong>This is the quick selection</strong>: one scale, few problems, few seeds and "
            "evaluations. Its verdicts are not conclusive."
        )
    if missing:
        text += f" {missing} experiments have not been run yet."
    return text


def _navigation(kinds: Sequence[str], *, has_searches: bool) -> str:
    """Return links to the sections of the page."""
    sections = [("claims", "claims"), ("faults", "faults of the scripts")]
    sections += [(kind, kind) for kind in kinds]
    if has_searches:
        sections.append(("searches", "all searches"))
    # Names of sections are the anchors of their headings.
    links = [f'<a href="#{name}">{title}</a>' for name, title in sections]
    return "\n".join(["<nav>", *links, "</nav>"])


def _claims_table(claims: Sequence[Claim]) -> str:
    # Claims are plain text, so their special characters are escaped.
    rows = [
        [
            f"{escape(claim.says)}<br><span class=faint>{escape(claim.source)}</span>",
            f"<span class=verdict>{claim.verdict}</span>",
            escape(claim.here),
            escape(claim.why),
        ]
        for claim in claims
    ]
    return _html_table(["claim", "verdict", "reproduction", "reasons and limitations"], rows)


def _figure_section(kind: str, files: Sequence[str], notes: Sequence[str]) -> str:
    """Return a heading with the images of a figure, and notes below them."""
    # The first line of a figure's docstring describes it.
    caption = (FIGURES[kind].__doc__ or "").partition("\n")[0]
    images = "\n".join(
        f'<figure><a href="{escape(file)}"><img loading="lazy" src="{escape(file)}" '
        f'alt="{escape(caption)}"></a><figcaption>{escape(file.rpartition("/")[2])}</figcaption>'
        "</figure>"
        for file in files
    )
    paragraphs = "".join(f"<p class=faint>{escape(note)}</p>" for note in notes)
    return f'<h2 id="{kind}">{escape(caption.rstrip("."))}</h2>\n{images}{paragraphs}'


def _search_tables(reproduction: ReproductionResults) -> list[str]:
    """Return a heading and a summary table for each experiment."""
    parts = ['<h2 id="searches">All searches</h2>'] if reproduction.results else []
    for planned, result in reproduction.results.items():
        header, rows = summary_table(result)
        title = f"{planned.kind}: {planned.experiment.space}, {planned.target}"
        cells = [[escape(cell) for cell in row] for row in rows]
        parts += [f"<h3>{escape(title)}</h3>", _html_table(header, cells, first_number=1)]
    return parts


def _html_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], first_number: int | None = None
) -> str:
    """Return a table of HTML cells; numbers, from column `first_number` on, are right-aligned."""

    def cell(tag: str, j: int, text: str) -> str:
        number = ' class="number"' if first_number is not None and j >= first_number else ""
        return f"<{tag}{number}>{text}</{tag}>"

    def row_html(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(cell(tag, j, text) for j, text in enumerate(cells)) + "</tr>"

    lines = [row_html("th", header), *(row_html("td", row) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
