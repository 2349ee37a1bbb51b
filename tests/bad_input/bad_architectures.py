"""Malformed architectures: as arguments, as lines, as JSON and as CSV; and spaces of others."""

from __future__ import annotations

import json

from bad_case import Case

GPT = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"
_OWN_YAML = b"""name: mlp
choices: {depth: [1, 2], kind: [relu, tanh], rate: [0.1, 0.2], slope: [1, 2]}
layers: {width: [16, 32]}
conditions: {slope: {kind: [relu]}}
"""
_LLAMA_YAML = b"""family: llama
name: mine
embed_dim: [64]
n_layer: [1, 2]
mlp_dim: [128]
n_head: [2]
n_kv_head: [1, 2]
"""
OWN = "mlp:depth=2/kind=tanh/rate=0.1/width=16:32"
_FIELDS = {
    "space": "gpt-s",
    "embed_dim": 192,
    "n_layer": 10,
    "mlp_ratio": [2] * 10,
    "n_head": [4] * 10,
    "bias": True,
}
# Arguments of gpt-s, and words that the line must have beside their number.
ARGUMENTS: list[tuple[str, tuple[str, ...]]] = [
    ("", ()),
    (" ", ()),
    ("gpt-s", ("gpt-s",)),
    ("bad.yaml-1-192-2-4-True", ("unknown space 'bad.yaml'",)),
    ("gpt-s-", ("expected",)),
    ("gpt-q" + GPT[5:], ("gpt-q",)),
    (GPT[:-5], ("expected",)),
    (GPT[:-4] + "true", ("expected",)),
    (GPT[:-4] + "1", ("expected",)),
    (GPT + "-", ("expected",)),
    (GPT + "\n", ("expected",)),
    (GPT + " x", ("expected",)),
    (GPT.replace("-10-", "-9-", 1), ("9 layers",)),
    (GPT.replace("-10-", "-0-", 1), ("0 layers",)),
    (GPT.replace("-10-", "--10-", 1), ("unknown space 'gpt-s-'",)),
    (GPT.replace("-10-", "-1e1-", 1), ("expected",)),
    (GPT.replace("-10-", "-10.0-", 1), ("expected",)),
    (GPT.replace("-10-", "-999999999-", 1), ("999999999 layers",)),
    (GPT.replace("-10-", f"-{'9' * 400}-", 1), ("expected",)),
    (GPT.replace("-192-", "-193-", 1), ("embed_dim", "193")),
    (GPT.replace("-192-", "-0-", 1), ("embed_dim", "0")),
    (GPT.replace("-192-", "-\u0661\u0669\u0662-", 1), ("expected",)),
    (GPT.replace("-2-", "-5-", 1), ("mlp_ratio", "5")),
    (GPT.replace("-4-", "-5-", 1), ("n_head", "5")),
    (GPT.replace("-2-2-", "-2-", 1), ("10 layers",)),
    (GPT + "\x1b[31m", ("\\x1b",)),
    ("gpt-s-" + "1-" * 100_000 + "True", ("layers",)),
    ("x" * 100_000, ("expected",)),
    ("<script>alert(1)</script>", ("<script>",)),
    ("mlp:depth=1", ("mlp", "--space")),
    ("llama-s-4-256", ("llama-s",)),
    ("llama-s-4-256-True", ("llama-s",)),
    ("llama-s-1-256-512-2-1-True", ("n_layer", "found 1")),
    ("zdt1:x1=0.5", ("x1", "0.5")),
    ("zdt1:x1=2/x1=2", ("x1", "2")),
    ("\ud83d", ()),
]
# Configurations of a space of one's own.
CONFIGURATIONS: list[tuple[str, tuple[str, ...]]] = [
    ("mlp", ("mlp",)),
    ("mlp:", ("NAME=VALUE",)),
    ("mlq" + OWN[3:], ("mlp:",)),
    (OWN + "/", ("NAME=VALUE",)),
    (OWN + "/rate=0.1", ("NAME=VALUE",)),
    (OWN + "/color=red", ("color",)),
    (OWN.replace("/rate=0.1", ""), ("rate",)),
    (OWN.replace("rate=0.1", "rate"), ("NAME=VALUE",)),
    (OWN.replace("rate=0.1", "rate="), ("rate",)),
    (OWN.replace("rate=0.1", "rate=0.3"), ("rate", "0.3")),
    (OWN.replace("rate=0.1", "rate=nan"), ("rate", "nan")),
    (OWN.replace("rate=0.1", "rate=%"), ("rate", "%")),
    (OWN.replace("rate=0.1", "rate=%ff"), ("rate",)),
    (OWN.replace("rate=0.1", "rate=*"), ("rate",)),
    (OWN.replace("depth=2", "depth=*"), ("depth",)),
    (OWN.replace("depth=2", "depth=1"), ("width",)),
    (OWN.replace("depth=2", "depth=3"), ("depth", "3")),
    (OWN.replace("16:32", "16"), ("width",)),
    (OWN.replace("16:32", "16:32:16"), ("width",)),
    (OWN.replace("16:32", "16:"), ("width",)),
    (OWN.replace("16:32", "16:33"), ("width", "33")),
    (OWN.replace("16:32", ":" * 100_000), ("width",)),
    (OWN.replace("/width=16:32", ""), ("width",)),
    (OWN.replace("tanh", "relu"), ("slope",)),
    (GPT, ("mlp:",)),
]
# Llama strings of a space of one's own.
LLAMAS: list[tuple[str, tuple[str, ...]]] = [
    ("mine-1-64-128-2-1", ()),
    ("mine-1-64-128-2-3-True", ("n_kv_head", "3")),
    ("mine-1-64-129-2-1-True", ("mlp_dim", "129")),
    ("mine-3-64-128-128-128-2-2-2-1-1-1-True", ("n_layer", "3")),
    ("mine-1-64-128-2-True", ()),
    ("mine-0-64-True", ()),
    ("mine-1-64-128-2-0-True", ("n_kv_head", "0")),
    ("mine-1-999999999-128-2-1-True", ("embed_dim", "999999999")),
]


def _json(**changes: object) -> bytes:
    fields = {**_FIELDS, **changes}
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


# Standard input, and words that the line must have.
TEXTS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no architectures": (b"", ("found none",)),
    "blank lines": (b"\n \n", ("found none",)),
    "second line wrong": (GPT.encode() + b"\nx\n", ("line 2",)),
    "NUL in a line": (GPT.encode() + b"\0\n", ("line 1",)),
    "binary architectures": (bytes(range(256)), ("standard input",)),
    "UTF-16 architectures": (GPT.encode("utf-16"), ("standard input",)),
    "JSON without an end": (b'["gpt-s', ("line 1", "JSON")),
    "JSON with a comma": (b'["a",]', ("line 1", "JSON")),
    "JSON too deep": (b"[" * 100_000, ("JSON too deep",)),
    "JSON null": (b"[null]", ("element 1", "None")),
    "JSON number": (b"[3]", ("element 1", "3")),
    "JSON nothing": (b"[]", ("found none",)),
    "JSON list in a list": (b'[["x"]]', ("element 1",)),
    "JSON with 5000 digits": (b"[" + b"9" * 5000 + b"]", ("line 1", "JSON")),
    "JSON NaN": (_json(embed_dim=float("nan")), ("element 1", "embed_dim", "nan")),
    "JSON of a huge layer count": (_json(n_layer=10**30), ("element 1", "n_layer")),
    "JSON of a huge width": (_json(embed_dim=10**30), ("element 1", "embed_dim")),
    "JSON of a huge ratio": (_json(mlp_ratio=[10**30] * 10), ("element 1", "mlp_ratio")),
    "JSON of a negative layer count": (_json(n_layer=-1), ("element 1",)),
    "JSON of a text for a number": (_json(embed_dim="192"), ("element 1", "embed_dim", "'192'")),
    "JSON of a bool for a number": (_json(n_layer=True), ("element 1", "n_layer", "True")),
    "JSON of a number for a list": (_json(n_head=4), ("element 1", "n_head", "4")),
    "JSON of texts in a list": (_json(n_head=["4"] * 10), ("element 1", "n_head")),
    "JSON of a number for a bool": (_json(bias=1), ("element 1", "bias", "1")),
    "JSON of a list for a bool": (_json(bias=[]), ("element 1", "bias")),
    "JSON of a list for a space": (_json(space=["gpt-s"]), ("element 1", "space")),
    "JSON without bias": (_json(bias=...), ("element 1", "bias")),
    "JSON without a space": (_json(space=...), ("element 1", "space")),
    "JSON of an unknown space": (_json(space="gpt-q"), ("gpt-q",)),
    "JSON of another depth": (_json(n_layer=11), ("element 1",)),
    "JSON of a surrogate": (b'["\\ud800"]', ("element 1", "\\ud800")),
    "JSON of a NUL": (b'["a\\u0000"]', ("element 1", "a\\x00")),
    "CSV without architectures": (b"a,b\n1,2\n", ("line 1", "arch")),
    "CSV of a header alone": (b"arch,b\n", ("found none",)),
    "CSV with a short row": (b"a,arch\n1\n", ("line 2", "arch")),
    "CSV with a wrong row": (b"arch,b\n" + GPT.encode() + b",1\nx,2\n", ("line 3", "x")),
    "CSV with an empty cell": (b"arch,b\n,1\n", ("line 2",)),
    "CSV with semicolons": (b"arch;b\nx;1\n", ("line 1",)),
    "CSV with a huge cell": (b"arch,b\n" + b"x" * 200_000 + b",1\n", ("line 2", "CSV")),
}
CASES = [
    *(
        Case(f"argument-{i}", ("query", "--", text), ("argument 1", *words))
        for i, (text, words) in enumerate(ARGUMENTS)
    ),
    *(
        Case(
            f"configuration-{i}",
            ("query", "--space", "mlp.yaml", "--", text),
            ("argument 1", *words),
            {"mlp.yaml": _OWN_YAML},
        )
        for i, (text, words) in enumerate(CONFIGURATIONS)
    ),
    *(
        Case(
            f"llama-{i}",
            ("query", "--space", "llama.yaml", "--", text),
            ("argument 1", *words),
            {"llama.yaml": _LLAMA_YAML},
        )
        for i, (text, words) in enumerate(LLAMAS)
    ),
    *(Case(name, ("query",), words, stdin=text) for name, (text, words) in TEXTS.items()),
]
