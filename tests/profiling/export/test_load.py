"""Exported directories, loaded by the libraries of their formats and evaluated."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.profiling.data.tokenizer import ByteTokenizer, tokens
from hwnas.profiling.export.directory import export_model
from hwnas.profiling.export.load import load_exported, transformers_model
from hwnas.profiling.gpt import GPT
from hwnas.profiling.llama import Llama
from hwnas.profiling.meters.perplexity import perplexity
from hwnas.spaces import LlamaArchitecture
from hwnas.spaces.architecture import Architecture

SIZES: dict[str, Any] = {"head_size": 16, "context": 32, "vocab_size": 257}
TEXT = tokens(["some text " * 9, "and more of it"], ByteTokenizer())


def gpt() -> GPT:
    model = GPT(Architecture.parse("tiny-2-32-2-1-1-2-True"), **SIZES)
    return model.eval()


def llama() -> Llama:
    return Llama(LlamaArchitecture.parse("tiny-1-32-64-2-1-True"), **SIZES).eval()


def export(model: Any, folder: Path, format_: str = "safetensors", **options: Any) -> Path:
    export_model(model, folder, format_, encoder=ByteTokenizer(), **options)
    return folder


@pytest.fixture(scope="module")
def onnx_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of `llama` as ONNX; its export takes seconds."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return export(llama(), tmp_path_factory.mktemp("onnx") / "net", "onnx")


@pytest.mark.parametrize("format_", ["safetensors", "transformers"])
@pytest.mark.parametrize("make", [gpt, llama], ids=["own code", "class of transformers"])
def test_perplexity_is_that_of_the_model(make: Any, format_: str, tmp_path: Path) -> None:
    pytest.importorskip(format_)
    check_perplexity(make(), format_, export(make(), tmp_path / "net", format_))


def test_perplexity_in_onnx(onnx_net: Path) -> None:
    check_perplexity(llama(), "onnx", onnx_net)


def check_perplexity(model: Any, format_: str, folder: Path) -> None:
    exported = load_exported(folder)
    assert (exported.format, exported.arch) == (format_, str(model.arch))
    assert (exported.context, exported.vocab_size) == (32, 257)
    expected, result = perplexity(model, TEXT), perplexity(exported, TEXT)
    assert result.value == pytest.approx(expected.value, rel=1e-5)
    assert (result.n_tokens, result.n_documents) == (len(TEXT), 2)
    assert exported.tokenizer is not None
    assert exported.tokenizer.encode("é 1").tolist() == ByteTokenizer().encode("é 1").tolist()


def test_no_code_of_a_directory_is_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    export_model(gpt(), tmp_path / "net", "transformers")
    (tmp_path / "net" / "modeling_hwnas.py").write_text("raise SystemExit('run')")
    assert load_exported(tmp_path / "net")(torch.zeros(1, 2).long()).shape == (1, 2, 257)


def test_foreign_code_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    export_model(gpt(), tmp_path / "net", "transformers")
    file = tmp_path / "net" / "config.json"
    config = json.loads(file.read_text())
    config |= {"architectures": ["Foreign"], "model_type": "foreign"}
    config["auto_map"] = {
        "AutoConfig": "foreign.Config", "AutoModelForCausalLM": "foreign.Foreign"
    }  # fmt: skip
    file.write_text(json.dumps(config))
    (tmp_path / "net" / "foreign.py").write_text("raise SystemExit('run')")
    with pytest.raises(InvalidInput, match="expected a model for transformers"):
        load_exported(tmp_path / "net")


def test_directories_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nosuch: expected a directory that hwnas build wrote"):
        load_exported(tmp_path / "nosuch")
    with pytest.raises(InvalidInput, match=r"with config.json or model.gguf"):
        load_exported(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"config.json: not JSON"):
        load_exported(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InvalidInput, match=r"config.json: expected a JSON object"):
        load_exported(tmp_path)


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (export(llama(), tmp_path / "net", "transformers") / "model.safetensors").write_bytes(b"x")
    with pytest.raises(InvalidInput, match="net: expected a model for transformers: ") as error:
        load_exported(tmp_path / "net")
    assert "\n" not in str(error.value)


def test_damaged_onnx_is_one_line(onnx_net: Path, tmp_path: Path) -> None:
    shutil.copytree(onnx_net, tmp_path / "net")
    (tmp_path / "net" / "model.onnx").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"model.onnx: expected a model for ONNX: ") as error:
        load_exported(tmp_path / "net")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("format_", "module", "message"),
    [
        ("safetensors", "safetensors.torch", r'safetensors: pip install "hwnas\[profile\]"'),
        ("transformers", "transformers", r'transformers: pip install "hwnas\[export\]"'),
        ("gguf", "llama_cpp", "a model as GGUF needs llama_cpp: pip install llama-cpp-python"),
    ],
)
def test_missing_libraries_are_named_when_a_directory_is_loaded(
    format_: str, module: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(format_)
    model = llama()
    export_model(model.half() if format_ == "gguf" else model, tmp_path / "net", format_)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises((MissingExtra, InvalidInput), match=message):
        load_exported(tmp_path / "net")


def test_missing_onnxruntime_is_named(onnx_net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r'onnxruntime: pip install "hwnas\[export\]"'):
        load_exported(onnx_net)


@pytest.mark.parametrize(
    ("format_", "module"),
    [
        ("safetensors", "safetensors.torch"),
        ("transformers", "transformers"),
        ("onnx", "onnxscript"),
        ("onnx", "onnx"),
        ("onnx", "onnx_ir"),
        ("gguf", "gguf"),
    ],
)
def test_missing_libraries_are_named_when_a_directory_is_written(
    format_: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = "profile" if format_ == "safetensors" else "export"
    name = module.partition(".")[0]
    with pytest.raises(MissingExtra, match=rf'needs {name}: pip install "hwnas\[{extra}\]"$'):
        export_model(llama(), tmp_path / "net", format_)
    assert not list(tmp_path.iterdir())


def test_missing_tokenizers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtra, match=r'needs tokenizers: pip install "hwnas\[export\]"$'):
        export_model(llama(), tmp_path / "net", encoder=ByteTokenizer())
    assert not list(tmp_path.iterdir())


def test_models_for_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = llama()
    export_model(model, tmp_path / "net")
    ids = TEXT.ids[:20].astype("int64")[None]
    other = transformers_model(load_exported(tmp_path / "net"))
    logits = other(input_ids=torch.from_numpy(ids)).logits
    assert (logits - model(torch.from_numpy(ids))).abs().max() < 1e-4


def test_onnx_is_no_model_for_transformers(onnx_net: Path) -> None:
    with pytest.raises(InvalidInput, match="transformers or safetensors, found onnx"):
        transformers_model(load_exported(onnx_net))


TASK = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def test_tasks_of_lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    from hwnas.profiling.export.harness import run_tasks

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    questions = [
        {"question": f"Letter {k}:", "choices": [" a", " bb"], "answer": k % 2} for k in range(4)
    ]
    data, task = tmp_path / "questions.jsonl", tmp_path / "letters.yaml"
    data.write_text("\n".join(map(json.dumps, questions)))
    task.write_text(TASK.format(file=data))
    export_model(llama(), tmp_path / "net", encoder=ByteTokenizer())
    model = load_exported(tmp_path / "net")
    scores = {score.metric: score for score in run_tasks(model, [str(task)])}
    assert set(scores) == {"acc", "acc_norm"}
    # The shorter choice is the more likely one; by character it need not be.
    assert scores["acc"].value == 0.5
    assert scores["acc"].count == 4
    (limited, *_) = run_tasks(model, [str(task)], limit=1)
    assert (limited.count, limited.value) == (1, 1.0)
    with pytest.raises(UnknownName, match="task of lm-eval 'nosuch-task'"):
        run_tasks(model, ["nosuch-task"])
    with pytest.raises(InvalidInput, match=r"nosuch\.yaml: no such file"):
        run_tasks(model, ["nosuch.yaml"])
    shutil.rmtree(tmp_path / "net")


def test_lm_eval_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.profiling.export.harness import run_tasks

    pytest.importorskip("tokenizers")
    export_model(llama(), tmp_path / "net", encoder=ByteTokenizer())
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtra, match=r'needs lm_eval: pip install "hwnas\[eval\]"$'):
        run_tasks(load_exported(tmp_path / "net"), ["hellaswag"])
