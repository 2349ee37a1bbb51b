"""Malformed CSV tables: spaces of the family ``table`` and the backend that looks rows up."""

from __future__ import annotations

from bad_case import Case

GOOD = "depth,rate,error,latency\n1,0.1,0.5,2\n2,0.1,0.4,3\n1,0.2,0.3,4\n2,0.2,0.2,5\n"
# Content of the file, and words that the line must have beside its name.
TABLES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty table": (b"", ("a line of names",)),
    "blank table": (b"\n\n\n", ("a line of names",)),
    "names alone": (b"depth,rate,error,latency\n", ("at least one row",)),
    "semicolons": (GOOD.replace(",", ";").encode(), ("semicolon",)),
    "tabs": (GOOD.replace(",", "\t").encode(), ("tab",)),
    "bars": (GOOD.replace(",", "|").encode(), ("bar",)),
    "semicolons and decimal commas": (
        GOOD.replace(",", ";").replace(".", ",").encode(),
        ("semicolon",),
    ),
    "blanks between columns": (GOOD.replace(",", " ").encode(), ("commas", "blank")),
    "colons between columns": (GOOD.replace(",", ":").encode(), ("commas", "colon")),
    "row too short": ((GOOD + "3,0.1\n").encode(), ("line 6", "4 cells", "found 2")),
    "row too long": ((GOOD + "3,0.1,1,2,3\n").encode(), ("line 6", "found 5")),
    "decimal commas": ((GOOD + "3,0,1,0,5,2\n").encode(), ("line 6", "found 6")),
    "two columns of one name": (GOOD.replace("rate", "depth").encode(), ("two 'depth'",)),
    "column without a name": (GOOD.replace("error", "").encode(), ("no name",)),
    "all columns without names": (b",,,\n1,2,3,4\n", ("distinct",)),
    "no column of the choices": (GOOD.replace("depth", "deep").encode(), ("depth",)),
    "text among numbers": (GOOD.replace("0.4", "fast").encode(), ("line 3", "'fast'")),
    "unit behind a number": (GOOD.replace("0.4", "0.4ms").encode(), ("line 3", "'0.4ms'")),
    "underscore in a number": (GOOD.replace("0.4", "1_0").encode(), ("line 3", "'1_0'")),
    "hexadecimal number": (GOOD.replace("0.4", "0x10").encode(), ("line 3", "'0x10'")),
    "formula": (GOOD.replace("0.4", "=A1").encode(), ("line 3", "'=A1'")),
    "HTML in a number": (GOOD.replace("0.4", "<b>4</b>").encode(), ("line 3", "<b>4</b>")),
    "same configuration twice": ((GOOD + "1,0.1,9,9\n").encode(), ("lines 2 and 6",)),
    "same configuration spelled otherwise": ((GOOD + "1,1e-1,9,9\n").encode(), ("lines 2 and 6",)),
    "empty choice": ((GOOD + ",0.1,9,9\n").encode(), ("line 6", "depth")),
    "choices all empty": (b"depth,rate,error,latency\n,0.1,1,2\n,0.2,1,2\n", ("depth",)),
    "too many choices": (
        b"depth,rate,error,latency\n" + b"".join(b"%d,1,1,1\n" % i for i in range(128)),
        ("depth", "127"),
    ),
    "choice of a huge integer": (GOOD.replace("2,0", "9" * 400 + ",0").encode(), ("depth",)),
    "choice of 5000 digits": (GOOD.replace("2,0", "9" * 5000 + ",0").encode(), ("depth",)),
    "choice with a NUL": (GOOD.replace("0.1", "a\0").encode(), ("NUL",)),
    "name with a NUL": (GOOD.replace("error", "err\0or").encode(), ("NUL",)),
    "zeros table": (bytes(100), ("NUL",)),
    "choice named as no variable": (GOOD.replace("rate", "my rate").encode(), ("rate",)),
    "Latin-1 table": (GOOD.replace("0.4", "\xfc").encode("latin-1"), ("UTF-8",)),
    "UTF-16 table": (GOOD.encode("utf-16"), ("UTF-8",)),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), ("NUL",)),
    "UTF-32 table": (GOOD.encode("utf-32"), ("UTF-8",)),
    "binary table": (bytes(range(256)), ("UTF-8",)),
    "PNG table": (b"\x89PNG\r\n\x1a\n\0\0", ("UTF-8",)),
    "gzip table": (b"\x1f\x8b\x08\x00\x00", ("UTF-8",)),
    "SQLite table": (b"SQLite format 3\0" + bytes(84), ("NUL",)),
    "open quote": (b'depth,rate,error,latency\n1,0.1,0.5,"2\n', ("line 2", "quote")),
    "cell of a megabyte": (GOOD.replace("0.4", "9" * 1_000_000).encode(), ("line 3", "limit")),
    "JSON table": (b'[{"depth": 1}]', ("a line of names",)),
    "HTML table": (b"<!doctype html>\n<table><tr><td>1</table>\n", ("commas",)),
    "no finite value": (GOOD.replace("0.", "nan").encode(), ("error",)),
}
EXPERIMENT = b"""name: table
space: {family: table, name: mine, file: bad.csv, choices: [depth, rate]}
backend: table
objectives: [error, latency]
optimizers: [random]
budget: {evaluations: 4}
seeds: 1
"""
# The table of a space of one's own, whose values need not be those of the file.
_OWN = EXPERIMENT.replace(
    b"{family: table, name: mine, file: bad.csv, choices: [depth, rate]}",
    b"{name: mine, choices: {depth: [7, 8], rate: [0.1, 0.2]}}",
).replace(b"backend: table", b"backend: {type: table, file: bad.csv}")
_RUN = ("run", "x.yaml", "--out", "out", "--no-draw")
CASES = [
    *(
        Case(name, _RUN, ("bad.csv", *words), {"x.yaml": EXPERIMENT, "bad.csv": content})
        for name, (content, words) in TABLES.items()
    ),
    Case(
        "no row of the space",
        _RUN,
        ("x.yaml", "backend", "bad.csv", "no row"),
        {"x.yaml": _OWN, "bad.csv": GOOD.encode()},
    ),
    Case(
        "table without a column of the space",
        _RUN,
        ("x.yaml", "backend", "bad.csv", "rate"),
        {"x.yaml": _OWN, "bad.csv": GOOD.replace("rate", "speed").encode()},
    ),
    Case(
        "no column of the objectives",
        _RUN,
        ("x.yaml", "objectives[1]", "'latency'"),
        {"x.yaml": EXPERIMENT, "bad.csv": GOOD.replace("latency", "time").encode()},
    ),
    Case(
        "names in capitals",
        _RUN,
        ("x.yaml", "objectives[1]", "did you mean 'Latency'"),
        {"x.yaml": EXPERIMENT, "bad.csv": GOOD.replace("latency", "Latency").encode()},
    ),
    Case(
        "infinite values",
        _RUN,
        ("objectives", "mine", "finite error, latency"),
        {
            "x.yaml": EXPERIMENT,
            "bad.csv": b"depth,rate,error,latency\n1,0.1,inf,1\n2,0.1,-inf,2\n1,0.2,1e400,3\n",
        },
    ),
    Case("missing table", _RUN, ("x.yaml", "bad.csv", "no such file"), {"x.yaml": _OWN}),
    Case(
        "directory for a table",
        _RUN,
        ("x.yaml", "bad.csv", "directory"),
        {"x.yaml": _OWN, "bad.csv/a": b""},
    ),
]
