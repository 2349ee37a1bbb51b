"""Fetch text for ``supernet.py``: documentation packages of Debian, and a tokenizer for it.

::

    python benchmarks/supernet_text.py --out runs/supernet/text

Writes ``text.txt``, documents divided by ``<|endoftext|>``, and ``tokenizer.json``, a byte-pair
encoding of 8,192 tokens that is trained on it. Needs ``apt-get``, ``dpkg-deb``, a network and
``pip install tokenizers``. Nothing of it is committed.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from hwnas.files import write_text

# English and code examples.
PACKAGES = (
    "apache2-doc",
    "debian-reference-en",
    "developers-reference",
    "git-doc",
    "perl-doc",
    "postgresql-doc",
    "python3-doc",
    "r-doc-html",
    "rust-doc",
    "sqlite3-doc",
    "vim-doc",
)
VOCABULARY = 8192
END_OF_TEXT = "<|endoftext|>"
_HIDDEN = {"script", "style", "nav", "header", "footer", "head"}
_BLOCKS = {"p", "div", "li", "tr", "pre", "h1", "h2", "h3", "h4", "h5", "br", "dt", "dd"}
_MIN_CHARACTERS = 500  # of a document
_TRAINED_CHARACTERS = 10_000_000  # on which the tokenizer is trained, about


class _Text(HTMLParser):
    """Visible text of a page, one line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in _HIDDEN and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def html_to_text(page: str) -> str:
    """Return the visible text of a page of HTML.

    >>> html_to_text("<head><title>x</title></head><p>one <b>two</b><p>three")
    'one two\\nthree'
    """
    parser = _Text()
    parser.feed(page)
    lines = (line.rstrip() for line in "".join(parser.parts).splitlines())
    return "\n".join(line for line in lines if line.strip())


def documents(folder: Path) -> Iterator[str]:
    """Yield the documents of an unpacked package: pages of HTML, texts, and manuals in pod."""
    for file in sorted(folder.rglob("*")):
        name = file.name.removesuffix(".gz")
        if not file.is_file() or file.is_symlink():
            continue
        # Sources of pages stand beside them, or in a folder of their own.
        has_page = name.endswith(".txt") and file.with_name(f"{Path(name).stem}.html").exists()
        if has_page or "_sources" in file.parts:
            continue
        if not name.endswith((".html", ".txt", ".pod", ".md", ".rst")):
            continue
        content = file.read_bytes()
        data = gzip.decompress(content) if file.suffix == ".gz" else content
        text = data.decode("utf-8", errors="ignore").replace("\0", "")
        text = html_to_text(text) if name.endswith(".html") else text
        if len(text) >= _MIN_CHARACTERS:
            yield text.replace(END_OF_TEXT, "")


def fetch(package: str) -> list[str]:
    """Return the documents of a package of Debian, and of those that it depends on by its name."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", _real(package)], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.deb")
        unpacked = Path(folder, "unpacked")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        return list(documents(unpacked))


def _real(package: str) -> str:
    """Return the package with the files where a name without a version stands for another one."""
    output = subprocess.run(
        ["apt-cache", "depends", package], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in output.splitlines() if "Depends:" in line]
    stem = package.removesuffix("-doc").rstrip("3")
    versions = [n for n in names if n.startswith(stem) and n.endswith("-doc") and n != package]
    return versions[0] if versions else package


def train_tokenizer(texts: Sequence[str], out: Path) -> None:
    """Train a byte-pair encoding on texts, a sample of them if they are long."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    step = 1 + sum(map(len, texts)) // _TRAINED_CHARACTERS
    tokenizer.train_from_iterator(texts[::step], trainer)
    tokenizer.save(str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    options = parser.parse_args()
    texts: list[str] = []
    for package in options.packages:
        try:
            own = fetch(package)
        except subprocess.CalledProcessError as error:
            print(f"{package}: {error}", flush=True)
            continue
        print(f"{package}: {len(own)} documents, {sum(map(len, own)) / 1e6:.1f} MB", flush=True)
        texts += own
    options.out.mkdir(parents=True, exist_ok=True)
    text = options.out / "text.txt"
    write_text(text, END_OF_TEXT.join(texts))
    train_tokenizer(texts, options.out / "tokenizer.json")
    print(f"{text}: {text.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
