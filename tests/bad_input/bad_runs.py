"""Damaged run directories: stores, experiments and what is taken over from another run."""

from __future__ import annotations

from bad_case import Case
from bad_experiments import GOOD

STORE = "run/random/seed-0/trials.db"
# Commands that read a run; a warm start reads the stores alone.
READERS: dict[str, tuple[str, ...]] = {
    "resume": ("resume", "run", "--no-draw"),
    "report": ("report", "run"),
    "compare": ("compare", "run"),
    "warm start": ("run", "warm.yaml", "--out", "out", "--no-draw"),
}
_WARM = "".join(f"{k}: {v}\n" for k, v in {**GOOD, "warm_start": "run"}.items()).encode()
# Content in place of a store.
STORES: dict[str, bytes] = {
    "empty store": b"",
    "text for a store": b"trial,code\n1,2\n",
    "zeros for a store": bytes(4096),
    "header of a store alone": b"SQLite format 3\0",
    "header and garbage": b"SQLite format 3\0" + bytes(range(256)) * 32,
    "pickle for a store": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "npz for a store": b"PK\x03\x04" + bytes(100),
}
# Statements that damage a store, and words that the line must have beside its path.
STATEMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no trials table": ("DROP TABLE trials", ()),
    "no meta table": ("DROP TABLE meta", ("meta",)),
    "no recommendations table": ("DROP TABLE recommendations", ("recommendations",)),
    "view for trials": (
        "DROP TABLE trials; CREATE VIEW trials AS SELECT 1",
        (),
    ),
    "meta of other columns": ("ALTER TABLE meta RENAME COLUMN value TO other", ("value",)),
    "trials without a column": ("ALTER TABLE trials DROP COLUMN status", ()),
    "trials of other columns": ("ALTER TABLE trials RENAME COLUMN code TO kode", ()),
    "trials with a column": ("ALTER TABLE trials ADD COLUMN more", ()),
    "trials of text": (
        "CREATE TABLE t2(a); DROP TABLE trials; ALTER TABLE t2 RENAME TO trials",
        (),
    ),
    "version of the future": ("UPDATE meta SET value='99' WHERE key='version'", ("version", "99")),
    "no version": ("DELETE FROM meta WHERE key='version'", ("version",)),
    "no experiment": ("DELETE FROM meta WHERE key='experiment'", ("experiment",)),
    "no reference": ("DELETE FROM meta WHERE key='reference'", ("reference",)),
    "no optimizer": ("DELETE FROM meta WHERE key='optimizer'", ("optimizer",)),
    "no seed": ("DELETE FROM meta WHERE key='seed'", ("seed",)),
    "experiment of no YAML": ("UPDATE meta SET value='[' WHERE key='experiment'", ()),
    "experiment of nothing": ("UPDATE meta SET value='' WHERE key='experiment'", ()),
    "experiment of a list": ("UPDATE meta SET value='[1]' WHERE key='experiment'", ()),
    "experiment of a binary": ("UPDATE meta SET value=x'00ff' WHERE key='experiment'", ()),
    "experiment of another form": ("UPDATE meta SET value='{name: x}' WHERE key='experiment'", ()),
    "experiment of a number": ("UPDATE meta SET value=3 WHERE key='experiment'", ()),
    "seed of a text": ("UPDATE meta SET value='x' WHERE key='seed'", ("seed", "'x'")),
    "seed of -1": ("UPDATE meta SET value='-1' WHERE key='seed'", ("seed", "'-1'")),
    "optimizer of another path": (
        "UPDATE meta SET value='../../x' WHERE key='optimizer'",
        ("'../../x'",),
    ),
    "optimizer of an absolute path": ("UPDATE meta SET value='/tmp/x' WHERE key='optimizer'", ()),
    "optimizer with a NUL": ("UPDATE meta SET value='a'||char(0) WHERE key='optimizer'", ()),
    "optimizer of a long name": (
        "UPDATE meta SET value=hex(zeroblob(300)) WHERE key='optimizer'",
        (),
    ),
    "code of another length": ("UPDATE trials SET code=x'0000' WHERE trial=3", ()),
    "codes of another length": ("UPDATE trials SET code=x'0000'", ()),
    "code out of range": ("UPDATE trials SET code=zeroblob(26)||x'7f' WHERE trial=3", ()),
    "code of a text": ("UPDATE trials SET code='text' WHERE trial=3", ()),
    "code of a number": ("UPDATE trials SET code=3 WHERE trial=3", ()),
    "values of a text": ("UPDATE trials SET perplexity='high' WHERE trial=3", ()),
    "values of a blob": ("UPDATE trials SET perplexity=x'00' WHERE trial=3", ()),
    "evaluations of a text": ("UPDATE trials SET evaluations='x' WHERE trial=3", ()),
    "evaluations of a fraction": ("UPDATE trials SET evaluations=1.5 WHERE trial=3", ()),
    "evaluations of -1": ("UPDATE trials SET evaluations=-1 WHERE trial=3", ()),
    "seconds of a text": ("UPDATE trials SET seconds='x' WHERE trial=3", ()),
    "status of a number": ("UPDATE trials SET status=3 WHERE trial=3", ()),
    "status unknown": ("UPDATE trials SET status='fine' WHERE trial=3", ("fine",)),
    "reason of a blob": ("UPDATE trials SET reason=x'00ff' WHERE trial=3", ()),
    "ask of a text": ("UPDATE trials SET ask='x' WHERE trial=3", ()),
    "tell of the past": ("UPDATE trials SET tell=-5 WHERE trial=3", ()),
    "missing trial": ("DELETE FROM trials WHERE trial=3", ("trial",)),
    "reference of no JSON": ("UPDATE meta SET value='{' WHERE key='reference'", ()),
    "reference of a list": ("UPDATE meta SET value='[]' WHERE key='reference'", ()),
    "reference without a point": (
        "UPDATE meta SET value='{\"source\": \"exact\"}' WHERE key='reference'",
        (),
    ),
    "reference of another size": (
        'UPDATE meta SET value=\'{"source": "exact", "ideal": [1], "nadir": [1], '
        '"point": [1], "best": 1}\' WHERE key=\'reference\'',
        (),
    ),
    "reference of texts": (
        'UPDATE meta SET value=\'{"source": "exact", "ideal": ["a", 1], "nadir": [1, 2], '
        '"point": [1, 2], "best": 1}\' WHERE key=\'reference\'',
        (),
    ),
    "reference nested deep": (
        "UPDATE meta SET value=replace(hex(zeroblob(50000)), '0', '[') WHERE key='reference'",
        (),
    ),
}
# What a warm start reads of a store: it needs no reference, seed or asks.
_NOT_OF_WARM_STARTS = {name for name in STATEMENTS if name.startswith("reference")}
_EXPERIMENTS: dict[str, bytes] = {
    "empty experiment": b"",
    "binary experiment": bytes(range(256)),
    "experiment of a list": b"[1]",
    "experiment with an open bracket": b"name: [",
    "experiment of another form": b"name: x",
}


def _cases_of_stores() -> list[Case]:
    cases = []
    for reader, command in READERS.items():
        for name, content in STORES.items():
            files = {STORE: content, "warm.yaml": _WARM}
            cases.append(Case(f"{name}, {reader}", command, (STORE,), files, needs_run=True))
        for name, (sql, words) in STATEMENTS.items():
            is_read = reader != "warm start" or name not in _NOT_OF_WARM_STARTS
            if is_read:
                cases.append(
                    Case(
                        f"{name}, {reader}",
                        command,
                        ("run/random/seed-0", *words),
                        {"warm.yaml": _WARM},
                        needs_run=True,
                        sql=sql,
                    )
                )
    return cases


CASES = [
    *_cases_of_stores(),
    *(
        Case(
            f"{name} of a run",
            READERS["resume"],
            ("run/experiment.yaml",),
            {"run/experiment.yaml": content},
            needs_run=True,
        )
        for name, content in _EXPERIMENTS.items()
    ),
    Case(
        "store is a directory",
        READERS["resume"],
        ("run/random/seed-5/trials.db",),
        {"run/random/seed-5/trials.db/x": b""},
        needs_run=True,
    ),
    Case(
        "search in another place",
        READERS["report"],
        ("run/random/seed-0", "run/random/seed-7"),
        {},
        needs_run=True,
        sql="UPDATE meta SET value='7' WHERE key='seed'",
    ),
]
