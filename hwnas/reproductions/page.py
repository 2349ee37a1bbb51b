"""One page that sets out what was drawn again, and what agrees with the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hwnas.reports.summary_table import summary_table
from hwnas.reproductions.claims import Claim
from hwnas.reproductions.figures import FIGURES, Found
from hwnas.reproductions.plan import told

# What its published scripts do that changes results; github.com/automl/HW-GPT-Bench.
FAULTS = (
    (
        "bias=False is never tried",
        "the option is declared with type=bool, which takes every non-empty text for true",
        "baselines/gpt_objective_2d.py",
    ),
    (
        "EHVI is random search",
        "losses are not turned although BoTorch maximises, and the reference point lies above all "
        "of them: its acquisition is 0 everywhere",
        "syne-tune's legacy_expected_hyper_volume_improvement.py",
    ),
    (
        "MOASHA is random search",
        "a trial reports once, so nothing can be stopped; and it ignores the seed",
        "baselines/run_nas_gpt_2d.py",
    ),
    (
        "RSBO keeps its weights",
        "every proposal seeds the draw of weights alike, so a run has one scalarization",
        "syne-tune 0.13, random_scalarization.py",
    ),
    (
        "NSGA-II changes half of a network at once",
        "pymoo 0.6 takes each choice for a problem of one variable, and mutates it with 0.5",
        "syne-tune 0.13, NSGA2Searcher; pymoo 0.6.0, core/mixed.py",
    ),
    (
        "values are single draws",
        "archives keep the lucky ones, and fronts and hypervolumes are of them",
        "lib/utils.py",
    ),
    (
        "inactive layers are searched",
        "one network has many spellings, and a mutation may change nothing but the noise",
        "baselines/run_nas_gpt_2d.py",
    ),
    (
        "budgets are seconds",
        "48,000 s a search, of which methods that think longer evaluate less",
        "scripts/baselines",
    ),
    (
        "bands of hypervolume are too thin",
        "the deviation is divided by the root of the number of evaluations, not of runs",
        "plotting/eaf/plot_surface.py",
    ),
)

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


def page(
    found: Found,
    claims: Sequence[Claim],
    images: Mapping[str, Sequence[str]],
    *,
    quick: bool,
    missing: int,
    took: float,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    found
        What was run.
    claims
        What it says of the paper.
    images
        By the name of a figure, its files relative to the page.
    quick
        Whether this is the small selection.
    missing
        Experiments that have not been run.
    took
        Seconds of all searches together.
    """
    kinds = [name for name in FIGURES if images.get(name)]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>HW-GPT-Bench, run again</title><style>{_STYLE}</style></head><body>",
        "<h1>HW-GPT-Bench, run again</h1>",
        f"<p>{_introduction(found, quick=quick, missing=missing, took=took)}</p>",
        "<nav>",
        *(
            f'<a href="#{name}">{title}</a>'
            for name, title in (
                ("claims", "What agrees"),
                ("faults", "What its scripts do"),
                *((kind, kind) for kind in kinds),
                *([("searches", "all searches")] if found.results else []),
            )
        ),
        "</nav>",
        '<h2 id="claims">What agrees with the paper, what differs, and why</h2>',
        _claims(claims),
        '<h2 id="faults">What its published scripts do that changes results</h2>',
        _table(
            ["what", "how", "where"],
            [[escape(text) for text in fault] for fault in FAULTS],
        ),
        "<p>The paper's searches and figures rest on them; those here do not, but for MOASHA, "
        "which without noise has one rung here as well.</p>",
        *(_figure(kind, images[kind], found.notes if kind == "ranks" else ()) for kind in kinds),
        *(_searches(found)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _introduction(found: Found, *, quick: bool, missing: int, took: float) -> str:
    cells = sum(len(result.searches) for result in found.results.values())
    text = (
        'The experiments and the kinds of figures of <a href="https://arxiv.org/abs/2405.10299">'
        "HW-GPT-Bench</a> (Sukthanker et al. 2024), made anew with hwnas: "
        f"{len(found.results)} experiments, {cells} searches"
    )
    if cells:
        text += f", {told(took)} of searching"
    text += (
        ". Exact fronts are known, so a normalised hypervolume of 1 is the most there can be. The "
        "claims are those of the paper's abstracts and of its published scripts; its tables are "
        "not compared."
    )
    if quick:
        text += (
            " <strong>This is the quick selection</strong>: one scale, few problems, few seeds and "
            "evaluations; it shows what there is to see, and settles nothing."
        )
    if missing:
        text += f" {missing} experiments have not been run yet."
    return text


def _claims(claims: Sequence[Claim]) -> str:
    rows = [
        [
            f"{escape(claim.says)}<br><span class=faint>{escape(claim.source)}</span>",
            f"<span class=verdict>{claim.verdict}</span>",
            escape(claim.here),
            escape(claim.why),
        ]
        for claim in claims
    ]
    return _table(["the paper", "", "here", "why, and what to bear in mind"], rows)


def _figure(kind: str, files: Sequence[str], notes: Sequence[str]) -> str:
    caption = (FIGURES[kind].__doc__ or "").partition("\n")[0]
    drawn = "\n".join(
        f'<figure><a href="{escape(file)}"><img loading="lazy" src="{escape(file)}" '
        f'alt="{escape(caption)}"></a><figcaption>{escape(file.rpartition("/")[2])}</figcaption>'
        "</figure>"
        for file in files
    )
    said = "".join(f"<p class=faint>{escape(note)}</p>" for note in notes)
    return f'<h2 id="{kind}">{escape(caption.rstrip("."))}</h2>\n{drawn}{said}'


def _searches(found: Found) -> list[str]:
    out = ['<h2 id="searches">All searches</h2>'] if found.results else []
    for part, result in found.results.items():
        header, rows = summary_table(result)
        title = f"{part.kind}: {part.experiment.space}, {part.what}"
        out.append(f"<h3>{escape(title)}</h3>")
        out.append(_table(header, [[escape(cell) for cell in row] for row in rows], numbers=1))
    return out


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int | None = None) -> str:
    """A table of HTML cells; from column `numbers` on they are to the right."""

    def cell(tag: str, j: int, text: str) -> str:
        right = ' class="number"' if numbers is not None and j >= numbers else ""
        return f"<{tag}{right}>{text}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", j, text) for j, text in enumerate(header)) + "</tr>"]
    lines += [
        "<tr>" + "".join(cell("td", j, t) for j, t in enumerate(row)) + "</tr>" for row in rows
    ]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
