"""Tables of benchmarks/installation.py: every extra of setup.cfg is tried."""

import configparser
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import installation  # noqa: E402


@pytest.fixture(scope="module")
def extras():
    """Names of the libraries of each extra, with those of the extras that it consists of."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.extras_require"]

    def libraries(extra):
        for line in lines[extra].split():
            name, parts = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line).groups()
            if name == "hwnas":
                for part in parts.split(","):
                    yield from libraries(part)
            else:
                yield name

    return {extra: {*libraries(extra)} for extra in lines}


def test_every_extra_is_tried(extras):
    assert {*installation.PROBES} == {"base", *extras} - {"all"}
    for extra in ["base", *extras]:
        assert installation.all_probes(extra), extra


def test_every_extra_with_pytorch_gets_the_build_that_is_asked_for(extras):
    brings = {name for name, libraries in extras.items() if libraries & {"torch", "lm-eval"}}
    assert {*installation.TORCH} == brings


def test_rows_of_earlier_calls_are_of_extras_that_exist(extras):
    rows = installation.read_rows()
    assert {row.extra for row in rows} <= {"base", *extras}
