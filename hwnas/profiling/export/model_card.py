"""The model card of a network: README.md of its directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.profiling.language_model import LanguageModel

CARD = "README.md"

_USE = {
    "safetensors": 'import hwnas\n\nmodel = hwnas.load("{folder}")',
    "transformers": (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code={code})\n'
        'tokenizer = AutoTokenizer.from_pretrained("{folder}", trust_remote_code={code})\n'
        'inputs = tokenizer("Once", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))"
    ),
    "transformers without tokenizer": (
        "import torch\nfrom transformers import AutoModelForCausalLM\n\n"
        'model = AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code={code})\n'
        "print(model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=64))"
    ),
    "onnx": (
        "import numpy as np\nimport onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("{folder}/model.onnx")\n'
        'logits = session.run(None, {{"input_ids": np.array([[1, 2, 3]])}})[0]'
    ),
    "gguf": (
        'from llama_cpp import Llama\n\nmodel = Llama("{folder}/model.gguf")\n'
        'print(model("Once", max_tokens=64)["choices"][0]["text"])'
    ),
}


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as text of its model card.

    Attributes
    ----------
    search
        Sentences on how it was found: run, optimizer, seed, space, place on the front.
    training
        Sentence on the data and the steps of its training.
    metrics
        Name, value, unit and protocol of each measurement.
    license
        Identifier such as ``"apache-2.0"``.
    """

    search: Sequence[str] = ()
    training: str = "The weights are random."
    metrics: Sequence[tuple[str, float, str, str]] = ()
    license: str = "unknown"


def model_card(
    model: LanguageModel, format_: str, *, has_tokenizer: bool, origin: Origin | None = None
) -> str:
    """Return the model card.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=257)
    >>> card = model_card(model, "onnx", has_tokenizer=False)
    >>> "license: unknown" in card, "tiny-1-32-2-1-True" in card
    (True, True)
    """
    origin = origin or Origin()
    has_code = "True" if format_ == "transformers" and _has_own_code(model) else "False"
    header = [f"license: {json.dumps(origin.license)[1:-1]}"]
    header += ["pipeline_tag: text-generation", "tags: [hwnas]"]
    if format_ == "transformers":
        header.append("library_name: transformers")
    sizes = {
        "architecture": f"`{model.arch}`",
        "family": model.family,
        "layers": model.arch.n_layer,
        "width": model.arch.embed_dim,
        "size of a head": model.head_size,
        "parameters": f"{model.params:,}",
        "context": f"{model.context:,} tokens",
        "vocabulary": f"{model.vocab_size:,} tokens",
        "tokenizer": "tokenizer of this directory" if has_tokenizer else "none given",
        "data type": str(model.dtype).removeprefix("torch."),
    }
    lines = ["---", *header, "---", "", f"# {model.arch.space}", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in sizes.items())]
    if origin.search:
        lines += ["", "## Search", "", *origin.search]
    if origin.metrics:
        lines += ["", "## Measurements", "", "| metric | value | protocol |", "|---|---|---|"]
        for name, value, unit, protocol in origin.metrics:
            lines.append(f"| `{name}` | {value:.5g} {unit} | {protocol} |")
    without = f"{format_} without tokenizer"
    template = _USE[without if without in _USE and not has_tokenizer else format_]
    use = template.format(folder="DIR", code=has_code)
    lines += ["", "## Training", "", origin.training]
    lines += ["", "## Use", "", "```python", *use.splitlines(), "```"]
    return "\n".join(lines) + "\n"


def _has_own_code(model: LanguageModel) -> bool:
    """Return whether transformers needs the code beside the weights."""
    from hwnas.profiling.export.transformers import convert

    return convert(model).has_own_code
