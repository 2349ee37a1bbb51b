"""Malformed options and files that commands are pointed to."""

from __future__ import annotations

from bad_case import Case
from bad_experiments import GOOD

_X = {"x.yaml": "".join(f"{key}: {value}\n" for key, value in GOOD.items()).encode()}
_RUN = ("run", "x.yaml", "--out", "out", "--no-draw")
_BACKEND = 'import hwnas\n@hwnas.register_backend("bad")\nclass Bad(hwnas.Backend):\n'
# Assignments of --set, and words that the line must have.
ASSIGNMENTS: list[tuple[str, tuple[str, ...]]] = [
    ("", ("--set", "KEY=VALUE")),
    ("=", ("--set", "KEY=VALUE")),
    ("=3", ("--set", "KEY=VALUE")),
    ("seeds", ("--set", "KEY=VALUE")),
    ("seeds=", ("x.yaml", "seeds", "None")),
    ("seeds=[", ("--set", "seeds")),
    ("seeds='", ("--set", "seeds")),
    ("seeds=!!python/name:os.system", ("--set", "seeds")),
    ("seeds=*a", ("--set", "seeds")),
    ("seeds=&a [*a]", ("--set", "seeds")),
    ("seeds=" + "[" * 800, ("--set", "seeds")),
    ("seeds=" + "9" * 5000, ("--set", "seeds")),
    ("seeds=1e400", ("x.yaml", "seeds", "inf")),
    ("seeds=-0", ("x.yaml", "seeds", "0")),
    ('seeds="\\0"', ("--set", "seeds", "NUL")),
    ("seed=3", ("x.yaml", "seed", "seeds")),
    ("Seeds=3", ("x.yaml", "Seeds", "seeds")),
    ("budget=", ("x.yaml", "budget")),
    ("budget.=3", ("x.yaml", "budget")),
    (".budget=3", ("--set",)),
    (".=3", ("--set",)),
    ("..=3", ("--set",)),
    ("budget.evaluations=0", ("x.yaml", "budget.evaluations", "0")),
    ("budget.evaluations=-1", ("x.yaml", "budget.evaluations", "-1")),
    ("budget.evaluations=ten", ("x.yaml", "budget.evaluations", "'ten'")),
    ("budget.evaluations.more=3", ("--set", "evaluations")),
    ("budget.evaluatons=3", ("x.yaml", "evaluations")),
    ("bugdet.evaluations=3", ("--set", "bugdet")),
    ("space.name=x", ("--set", "space")),
    ("optimizers.0=random", ("--set", "optimizers")),
    ("optimizers[0]=random", ("x.yaml", "optimizers[0]")),
    ("objectives=perplexity", ("x.yaml", "objectives")),
    ("name=../x", ("x.yaml", "name", "../x")),
    ("name=" + "a" * 300, ("x.yaml", "name")),
    ("noise=on", ("x.yaml", "noise", "'on'")),
    ("a" * 10_000 + "=3", ("x.yaml",)),
    ("\x1b[31m=3", ("x.yaml", "\\x1b")),
]
# Plugin files, and words that the line must have beside the file's name.
PLUGINS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty plugin": (b"", ("registers nothing",)),
    "plugin that registers nothing": (b"x = 1", ("registers nothing",)),
    "plugin of no Python": (b"def f(:\n", ("line 1",)),
    "plugin with a NUL": (b"x = 1\0", ("null",)),
    "binary plugin": (bytes(range(256)), ()),
    "plugin in Latin-1": (b"# \xfc\nx = 1", ()),
    "plugin of unknown encoding": (b"# coding: klingon\nx = 1", ("klingon",)),
    "plugin that raises": (b"x = 1\nraise ValueError('bad\\nworse')", ("line 2", "bad")),
    "plugin that raises with escapes": (b"raise ValueError('\\x1b[31m')", ("\\x1b",)),
    "plugin that raises at length": (b"raise ValueError('x' * 10**6)", ("ValueError",)),
    "plugin that exits": (b"import sys\nsys.exit(3)", ("line 2",)),
    "plugin that recurses": (b"def f(): f()\nf()", ("RecursionError",)),
    "plugin that nests": (b"(" * 1000, ("parenthes",)),
    "plugin that imports what is missing": (b"import no_such_module", ("no_such_module",)),
    "plugin of another class": (
        b"import hwnas\n@hwnas.register_optimizer('x')\nclass X: pass",
        ("Optimizer",),
    ),
    "plugin of a function": (
        b"import hwnas\n@hwnas.register_backend('x')\ndef f(): pass",
        ("Backend",),
    ),
    "plugin of a number": (b"import hwnas\nhwnas.register_space('x')(3)", ("SearchSpace",)),
}
_TARGETS = ("resume", "report", "plot", "compare")
# Files for spaces of commands, and words that the line must have.
SPACES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty space": (b"", ("is empty",)),
    "space of a list": (b"[1]", ("found a list",)),
    "space with a NUL": (b"name: a\0", ("YAML",)),
    "space of another file": (b"objectives: [params]", ("objectives",)),
    "space without choices": (b"name: x", ("missing",)),
    "space of itself": (b"&a {name: x, choices: *a}", ("alias",)),
}
CASES = [
    *(
        Case(f"set-{i}", (*_RUN, "--set", text), words, _X)
        for i, (text, words) in enumerate(ASSIGNMENTS)
    ),
    *(
        Case(name, (*_RUN, "--plugin", "bad.py"), ("bad.py", *words), {**_X, "bad.py": content})
        for name, (content, words) in PLUGINS.items()
    ),
    *(
        Case(f"check {name}", ("check", "bad.py"), ("bad.py", *words), {"bad.py": content})
        for name, (content, words) in PLUGINS.items()
    ),
    Case("missing plugin", (*_RUN, "--plugin", "no.py"), ("no.py", "no such file"), _X),
    Case("plugin is a directory", (*_RUN, "--plugin", "."), ("directory",), _X),
    *(
        Case(f"{command} of {name}", (command, path), (path[:100], *words), files)
        for command in _TARGETS
        for name, path, files, words in (
            ("nothing", "none", {}, ("directory of a run",)),
            ("an empty directory", ".", {}, ("directory of a run",)),
            ("a file", "file", {"file": b"x"}, ("directory of a run",)),
            ("a file in a file", "file/x", {"file": b"x"}, ()),
            ("a long name", "a" * 300, {}, ()),
            ("a long path", "a/" * 3000, {}, ()),
            ("an empty name", "", {}, ()),
        )
    ),
    *(
        Case(
            f"out {name}", ("run", "x.yaml", "--no-draw", "--out", out), words, {**_X, "file": b""}
        )
        for name, out, words in (
            ("is a file", "file", ("file", "directory")),
            ("is below a file", "file/out", ("file/out",)),
            ("has a long name", "a" * 300, ("a" * 100,)),
            ("has a long path", "a/" * 3000, ("a/" * 50,)),
            ("is this directory", ".", (".", "not empty")),
        )
    ),
    Case("run of nothing", ("run", "none.yaml"), ("none.yaml", "no such file")),
    Case("run of a directory", ("run", "."), (".", "directory")),
    Case("run of a long name", ("run", "a" * 300), ("a" * 100,)),
    Case("run of an empty name", ("run", ""), ()),
    Case("run of two with one name", ("run", "x.yaml", "x.yaml"), ("different names", "good"), _X),
    *(
        Case(
            f"{name}, {command[0]}",
            (*command, "--space", "bad.yaml"),
            ("bad.yaml", *words),
            {"bad.yaml": content},
        )
        for name, (content, words) in SPACES.items()
        for command in (("list", "devices"), ("query", "x"), ("check", "random"))
    ),
    Case("front of an unknown space", ("front", "gpt-q", "params"), ("gpt-q",)),
    Case("front of an unknown metric", ("front", "gpt-s", "parms"), ("parms",)),
    Case("front of no number", ("front", "gpt-s", "params", "--best", "x"), ("x",)),
    Case("front of a negative number", ("front", "gpt-s", "params", "--best", "-1"), ("-1",)),
    Case(
        "front of an infinite bound",
        ("front", "gpt-s", "params", "--constraint", "params <= 1e400"),
        ("finite",),
    ),
    Case("query of an unknown device", ("query", "x", "--device", "moon"), ()),
    Case("query of an unknown metric", ("query", "--metric", "<b>"), (), stdin=b"x"),
    Case("plot of an unknown kind", ("plot", ".", "--kind", "x"), ()),
    Case("compare at nothing", ("compare", ".", "--at", "0"), ("0",)),
    Case("workers of nothing", (*_RUN, "--workers", "0"), ("0",), _X),
    Case("workers beyond numbers", (*_RUN, "--workers", "x"), ("x",), _X),
    Case("executor unknown", (*_RUN, "--executor", "proces"), ("executor", "process"), _X),
    Case("executor with a NUL", (*_RUN, "--executor", '"\\0"'), ("--executor", "NUL"), _X),
    Case("unknown option", ("run", "--seed", "3"), ("--seed",)),
    Case("unknown command", ("rnu",), ("rnu",)),
    Case("reproduction of nothing", ("reproduce", "none"), ("none",)),
]
