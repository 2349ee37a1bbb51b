"""The whole way: scores, evaluations, the backend, healing and exports."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import hwnas
from hwnas.errors import InvalidInput
from hwnas.files import locked
from hwnas.objectives import parse_objectives
from hwnas.profiling import save_model
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.llama import Llama
from hwnas.shrinking.backend import TIMES, Shrink
from hwnas.shrinking.block_times import table_of_layers
from hwnas.shrinking.healing import heal, healing_settings
from hwnas.shrinking.plan import Plan, Workbench, read_plan
from hwnas.shrinking.pretrained import load_pretrained
from hwnas.shrinking.selection import export_member
from hwnas.shrinking.sliced_model import dense_member
from hwnas.shrinking.workflow import ShrinkResult, shrink
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.device_file import TABLES, DeviceFigure, DeviceFile
from hwnas.workloads import BUILT_IN, Workload

WORKLOADS = {**BUILT_IN, "mine": Workload(prompt=16, generate=4, batch=1, precision="float32")}


def times_of(space: ShrunkLlamaSpace) -> DeviceFigure:
    """Return times of a device called lab."""
    layer = np.add.outer(np.arange(len(space.mlp_dim)), np.arange(len(space.n_head)))
    table = table_of_layers(space, 1.0, layer * np.ones((3, 1, 1)))
    return DeviceFigure(space, "latency.mine", table, 20, 0.01, workload=WORKLOADS["mine"])


@pytest.fixture(scope="module")
def home(trained: Llama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with a model, a text and the device lab."""
    folder = tmp_path_factory.mktemp("home")
    save_model(trained, folder / "model")
    words = [f"the network {i} reads some text and says what comes after {i}" for i in range(90)]
    (folder / "text.txt").write_text("\n\n".join(words), encoding="utf-8")
    plan = Plan(
        model=str(folder / "model"),
        text=str(folder / "text.txt"),
        window=16,
        calibration_tokens=256,
        held_out_tokens=256,
        head_steps=2,
        mlp_steps=2,
    )
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))
    return folder


@pytest.fixture(autouse=True)
def library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device lab among the user's, and a cache of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))


@pytest.fixture(scope="module")
def result(home: Path) -> ShrinkResult:
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_DATA_HOME", str(home / "data"))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    plan = read_plan(home)
    # The space that the command writes, which the device is then measured on.
    with pytest.raises(InvalidInput, match="lab"):
        shrink(plan, home / "out", workload="mine", device="lab", workloads=WORKLOADS)
    space = hwnas.spaces.load_space(str(home / "out" / "space.yaml"))
    assert isinstance(space, ShrunkLlamaSpace)
    file = home / "data/hwnas/devices/lab.npz"
    file.parent.mkdir(parents=True)
    DeviceFile("lab", (times_of(space),)).write(file)
    made = run(home)
    patch.undo()
    return made


def run(home: Path, **settings: Any) -> ShrinkResult:
    return shrink(
        read_plan(home),
        home / "out",
        workload="mine",
        device="lab",
        on="cpu",
        workloads=WORKLOADS,
        **{"evaluations": 14, **settings},
    )


def test_files_and_second_call(result: ShrinkResult, home: Path) -> None:
    out = home / "out"
    names = {"plan.json", "space.yaml", "experiment.yaml", "scores.csv", "evaluations.csv",
             "front.csv", "report.md", "tables.npz", TIMES, "order.npz"}  # fmt: skip
    assert names <= {file.name for file in out.iterdir()}
    search = result.search
    assert len(search.codes) == 14
    assert search.added[0] == 0
    before = {name: (out / name).read_bytes() for name in ("evaluations.csv", "front.csv")}
    again = run(home)
    np.testing.assert_array_equal(again.search.codes, search.codes)
    assert before == {name: (out / name).read_bytes() for name in before}
    # With more evaluations the first ones are those that are there.
    more = run(home, evaluations=18)
    assert len(more.search.codes) == 18
    assert (out / "evaluations.csv").read_bytes().startswith(before["evaluations.csv"])
    run(home)


def test_other_settings_are_refused(result: ShrinkResult, home: Path) -> None:
    with pytest.raises(InvalidInput, match="with importance 'wanda', found 'taylor'"):
        shrink(replace(read_plan(home), importance="taylor"), home / "out")


def test_tables_have_exact_fronts(result: ShrinkResult, home: Path) -> None:
    space = result.backend.members
    bench = hwnas.surrogate(space, tables=str(home / "out" / "tables.npz"))
    front = bench.front(["added_loss", "latency.mine@lab"])
    assert front is not None
    assert front.epsilon == 0
    assert len(front.codes) > 3
    (row,) = bench.predict(space.canonical(space.cardinalities[None] - 1), ["latency.mine@lab"])
    assert row[0] == pytest.approx(1 + 3 * 4)


def test_any_optimizer_searches_the_experiment(result: ShrinkResult, home: Path) -> None:
    changed = {"optimizers": ["additive", "nsga2"], "budget.evaluations": 18,
               "constraints": ["params <= 30000"]}  # fmt: skip
    done = hwnas.run(str(home / "out/experiment.yaml"), home / "run", overrides=changed, draw=False)
    assert all(row["status"].startswith("done") for row in done.summary)
    values = done.searches[0].front.values
    # Members that were evaluated with the same weights have the same perplexity.
    assert values[:, 0].min() > 1


def test_backend(result: ShrinkResult, home: Path) -> None:
    backend, space = result.backend, result.backend.members
    codes = space.canonical([0 * space.cardinalities, space.cardinalities - 1])
    objectives = parse_objectives(["perplexity", "loss", "bits_per_byte", "latency.mine@lab"])
    answer = backend.evaluate(codes, objectives, seeds=np.zeros(2, np.uint64))
    assert answer.status == ["ok", "ok"]
    np.testing.assert_allclose(np.log(answer.values[:, 0]), answer.values[:, 1])
    assert answer.values[1, 0] < answer.values[0, 0]
    assert answer.values[:, 3].tolist() == [1.0, 13.0]
    assert len(backend.data_hash()) == 64
    other = hwnas.space({**space.to_dict(), "embed_dim": 64})
    with pytest.raises(InvalidInput, match="which space tiny is not part of"):
        Shrink(other, folder=str(home / "out"))
    with pytest.raises(InvalidInput, match="expected a directory of hwnas shrink"):
        Shrink(space, folder=str(home / "none"))


def test_the_backend_is_one_like_any_other(result: ShrinkResult, home: Path) -> None:
    hwnas.testing.check_backend(
        "shrink", space=result.backend.members, networks=4, folder=str(home / "out")
    )


def test_healing_brings_a_member_nearer_to_the_model(model: Llama, corpus: Tokens) -> None:
    arch = replace(model.arch, mlp_dim=(48, 0, 16), n_head=(4, 4, 2), n_kv_head=(2, 2, 1))
    member = dense_member(model, arch)
    inputs = torch.from_numpy(corpus.ids[:320].astype(np.int64)).view(10, 32)

    def divergence() -> float:
        with torch.no_grad():
            p, q = (m(inputs).log_softmax(-1) for m in (model, member))
        return float((p.exp() * (p - q)).sum(-1).mean())

    before, weights = divergence(), model.norm.weight.clone()
    settings = healing_settings(10_000, 32, batch_size=8, learning_rate=5e-3)
    steps: list[int] = []
    done = heal(member, model, corpus, settings, report=lambda step, loss: steps.append(step))
    assert done.tokens == 39 * 8 * 32 <= 10_000
    assert steps == [20, 39]
    assert divergence() < before / 2
    assert torch.equal(model.norm.weight, weights)
    assert not any(p.requires_grad for p in member.parameters())
    with pytest.raises(InvalidInput, match="expected at least 256 tokens"):
        healing_settings(100, 32, batch_size=8)


def test_members_are_exported(result: ShrinkResult, home: Path) -> None:
    member = export_member(result, 0.8, tokens=2000, formats=["safetensors"])
    assert member.share <= 0.8
    assert member.healed is not None
    loaded = hwnas.load(member.folder / "safetensors")
    assert loaded.params == result.backend.members.params(
        result.backend.members.encode([member.arch])
    )
    card = (member.folder / "safetensors/README.md").read_text()
    assert "2,000 tokens of distillation" in card
    with pytest.raises(InvalidInput, match="healed with 2000 tokens, expected"):
        export_member(result, 0.8)
    with pytest.raises(InvalidInput, match="no evaluated member takes at most 1%"):
        export_member(result, 0.01)


def test_an_interrupted_export_goes_on_with_the_healed_weights(result: ShrinkResult) -> None:
    transformers = pytest.importorskip("transformers")
    said: list[str] = []
    settings: dict[str, Any] = {"tokens": 1000, "say": said.append}
    first = export_member(result, 0.7, formats=["safetensors"], **settings)
    weights = (first.folder / "safetensors/model.safetensors").read_bytes()
    assert any(line.startswith("healing") for line in said)
    said.clear()
    formats = ["safetensors", "transformers"]
    assert export_member(result, 0.7, formats=formats, **settings) == first
    assert export_member(result, 0.7, formats=formats, **settings) == first
    assert said == []
    assert (first.folder / "safetensors/model.safetensors").read_bytes() == weights
    own, tokens = load_pretrained(first.folder / "safetensors"), torch.arange(8)[None]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        first.folder / "transformers", trust_remote_code=True
    )
    with torch.no_grad():
        torch.testing.assert_close(own(tokens), theirs(tokens).logits)


def test_what_another_wrote_is_not_replaced(result: ShrinkResult) -> None:
    folder = result.backend.bench.folder / "members/0.75"
    (folder / "safetensors").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="is there already"):
        export_member(result, 0.75)


def test_one_process_works_in_a_directory(result: ShrinkResult, home: Path) -> None:
    with locked(home / "out"), pytest.raises(InvalidInput, match="another process"):
        run(home)


def test_a_directory_goes_on_from_every_working_directory(
    result: ShrinkResult, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    relative = replace(read_plan(home), model="model", text="text.txt")
    assert Path(read_plan(home / "out").model).is_absolute()
    relative.check(Path("out"))
    (home / "below").mkdir()
    monkeypatch.chdir(home / "below")
    replace(relative, model="../model", text="../text.txt").check(home / "out")
    folder = yaml.safe_load((home / "out/experiment.yaml").read_text())["backend"]["folder"]
    assert Path(folder).is_absolute()


@pytest.mark.parametrize("changed", [{"text": "short.txt"}, {"text": ""}, {"tokenizer": "gpt3"}])
def test_a_text_that_does_not_serve_leaves_no_plan(
    changed: dict[str, Any], result: ShrinkResult, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "short.txt").write_text("too short")
    with pytest.raises(InvalidInput):
        shrink(replace(read_plan(home), **changed), "other", workload="mine", workloads=WORKLOADS)
    assert not (home / "other").exists()


def test_names_of_texts_and_tokenizers_are_no_paths(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pydoc", "stdlib", "bytes", "gpt2"):
        (tmp_path / name).mkdir()
    for text, tokenizer in (("pydoc", "bytes"), ("stdlib", "gpt2"), ("", "hf:none")):
        plan = Plan(model=str(home / "model"), text=text, tokenizer=tokenizer)
        assert plan.resolved() == plan


@pytest.mark.parametrize("size", [0, 20])
def test_a_damaged_order_says_what_to_remove(size: int, result: ShrinkResult, home: Path) -> None:
    file = home / "out/order.npz"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:size])
        with pytest.raises(InvalidInput, match="remove it together with"):
            _ = Workbench(home / "out", torch.device("cpu")).model
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["transformers", pytest.param("onnx", marks=pytest.mark.slow), "gguf"]
)
def test_every_format(name: str, result: ShrinkResult) -> None:
    pytest.importorskip(
        {"transformers": "transformers", "onnx": "onnxscript", "gguf": "gguf"}[name]
    )
    shutil.rmtree(result.backend.bench.folder / "members/0.9", ignore_errors=True)
    member = export_member(result, 0.9, formats=[name])
    assert (member.folder / name / "README.md").exists()


def test_files_of_tables_can_be_read_by_strangers(result: ShrinkResult, home: Path) -> None:
    from hwnas.surrogates.device_file import read_device_file

    file = read_device_file(home / "out" / TIMES)
    assert file.kind == TABLES
    assert [figure.quantity for figure in file.figures] == ["latency.mine@lab"]
