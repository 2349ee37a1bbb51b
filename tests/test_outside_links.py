"""The form of links to outside pages, which no test opens: one spelling, no slips of typing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from documents import DOCUMENTS, ROOT

# Documents, what the package index shows, and docstrings, which are the reference of the site.
FILES = [
    *DOCUMENTS,
    *(ROOT / name for name in ("CHANGELOG.md", "CITATION.cff", "setup.cfg", "mkdocs.yml")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.ipynb")),
    *(path for name in ("hwnas", "plugins") for path in sorted((ROOT / name).rglob("*.py"))),
]
_LINK = re.compile(r"https?:/*[^\s<>\"'`]+")
_PLACEHOLDER = re.compile(
    r"\b(example|todo|tbd|xxx+|owner|user(name)?|your[\w-]*|localhost|placeholder)\b|\.\.\.|[{}\[\]…]",
    re.I,
)
_ARXIV = re.compile(r"arxiv\s*[:.]\s*(?!org)(?P<id>[^\s,;)\]]*)", re.I)


def outside_links(text: str) -> Iterator[str]:
    """Yield the links to outside pages, those of Markdown and those that stand in a text."""
    for link in _LINK.findall(text):
        # The parenthesis that ends a link of Markdown, or one around it, is no part of it.
        while link.count(")") > link.count("("):
            link = link[: link.rindex(")")]
        yield link


def faults_of_link(link: str) -> list[str]:
    """Return what is wrong with the form of a link."""
    parts = urlsplit(link)
    host, path = parts.netloc, parts.path
    rules = {
        "https": parts.scheme == "https",
        "a host": bool(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}", host)),
        "no placeholder": not _PLACEHOLDER.search(link),
        "no punctuation at its end": link[-1] not in ".,;:!?*_'\"\\",
        "no empty part of its path": "//" not in path,
        "no tracking": "utm_" not in parts.query,
    }
    if host == "arxiv.org":
        rules["https://arxiv.org/abs/ID"] = path.startswith("/abs/") and is_arxiv_id(path[5:])
    if host in ("doi.org", "dx.doi.org"):
        is_doi = bool(re.fullmatch(r"/10\.\d{4,9}/[\w.()/:;-]+", path))
        rules["https://doi.org/10.NUMBER/NAME"] = host == "doi.org" and is_doi
    if host == "github.com":
        is_plain = bool(re.fullmatch(r"/[\w-]+/[\w.-]+(/.+[^/])?", path))
        rules["https://github.com/OWNER/NAME"] = is_plain and not path.endswith(".git")
    return [f"{link}: expected {rule}" for rule, holds in rules.items() if not holds]


def is_arxiv_id(text: str) -> bool:
    """Return whether a text is an identifier of arXiv, of the form since 2007: YYMM.NUMBER."""
    match = re.fullmatch(r"\d\d(?P<month>\d\d)\.\d{4,5}(v\d+)?", text)
    return match is not None and 1 <= int(match["month"]) <= 12


def contents() -> dict[str, str]:
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}


def shown(name: str, text: str) -> str:
    """Return what of a file people read: of Python docstrings and comments, without examples."""
    if Path(name).suffix != ".py":
        return text
    docstrings = re.findall(r'"""(.*?)"""', text, re.DOTALL)
    prose = "\n".join([*docstrings, *re.findall(r"#.*", text)])
    return re.sub(r"^ *(>>>|\.\.\.) .*$", "", prose, flags=re.M)


@pytest.mark.parametrize(
    "link",
    [
        "http://pymoo.org",
        "https://example.org/x",
        "https://github.com/OWNER/hwnas",
        "https://github.com/automl/{name}",
        "https://github.com/automl/HW-GPT-Bench.git",
        "https://github.com/automl/HW-GPT-Bench/",
        "https://github.com/automl",
        "https://pymoo.org.",
        "https://pymoo.org/a//b",
        "https:/pymoo.org",
        "https://pymoo",
        "https://arxiv.org/pdf/2405.10299",
        "https://arxiv.org/abs/2415.10299",
        "https://arxiv.org/abs/2405.102",
        "https://doi.org/10.1/x",
        "https://dx.doi.org/10.1145/3",
        "https://optuna.org/?utm_source=x",
    ],
)
def test_faults_are_found(link: str) -> None:
    assert faults_of_link(link)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("[a](https://a.org/b_(c)), d", ["https://a.org/b_(c)"]),
        ("(see https://a.org/b)", ["https://a.org/b"]),
        ("<https://a.org> and `https://b.org`", ["https://a.org", "https://b.org"]),
    ],
)
def test_links_are_found(text: str, links: list[str]) -> None:
    assert list(outside_links(text)) == links


def test_links_to_outside_pages_have_their_form() -> None:
    faults, n_links = [], 0
    for name, text in contents().items():
        for link in outside_links(shown(name, text)):
            n_links += 1
            faults += [f"{name}: {fault}" for fault in faults_of_link(link)]
    assert not faults
    assert n_links >= 15


def test_a_page_is_linked_by_one_spelling() -> None:
    spellings: dict[str, set[str]] = defaultdict(set)
    for name, text in contents().items():
        for link in outside_links(shown(name, text)):
            parts = urlsplit(link)
            page = f"{parts.netloc.removeprefix('www.')}{parts.path.rstrip('/')}"
            spellings[page.removesuffix(".git").lower()].add(link.partition("#")[0])
    assert not {page: links for page, links in spellings.items() if len(links) > 1}


def test_papers_are_cited_by_one_form() -> None:
    """``arXiv:ID``, which is that of the link behind it and of the year before it."""
    faults = []
    for name, text in contents().items():
        prose = shown(name, text)
        for match in _ARXIV.finditer(prose):
            cited = match["id"].rstrip(".:`'\"")
            if not is_arxiv_id(cited) or not match[0].startswith(f"arXiv:{cited}"):
                faults.append(f"{name}: {match[0]}: expected arXiv:YYMM.NUMBER")
        for cited, link in re.findall(r"\[arXiv:([^\]]+)\]\(([^)]+)\)", prose):
            if link != f"https://arxiv.org/abs/{cited}":
                faults.append(f"{name}: arXiv:{cited} leads to {link}")
        for year, cited in re.findall(r"\b(\d{4}),\s+\[?arXiv:(\d{4})", prose):
            # A paper may be cited by its conference, a year later.
            if not 0 <= int(year) - 2000 - int(cited[:2]) <= 1:
                faults.append(f"{name}: arXiv:{cited} is not of {year}")
    assert not faults
