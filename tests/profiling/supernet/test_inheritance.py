"""Searches with inherited weights: their perplexities, further training, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.errors import InvalidInput
from hwnas.objectives import parse_objectives
from hwnas.profiling.backend import Profile
from hwnas.profiling.data.corpus import load_corpus
from hwnas.profiling.meters.perplexity import perplexity
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.supernet_file import (
    Description,
    read_description,
    read_supernet,
    write_supernet,
)
from hwnas.profiling.supernet.train_loop import train_supernet
from hwnas.profiling.training.config import TrainingSettings

SPACE: dict[str, Any] = {
    "name": "tiny",
    "embed_dim": [16, 32],
    "n_layer": [1, 2],
    "mlp_ratio": [1, 2],
    "n_head": [1, 2],
    "head_size": 8,
    "context": 16,
    "vocab_size": 257,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    words = ["the", "network", "reads", "some", "text", "and", "says", "what", "comes", "next"]
    rng = np.random.default_rng(0)
    file.write_text("\n\n".join(" ".join(rng.choice(words, size=20)) for _ in range(40)))
    return file


@pytest.fixture(scope="module")
def weights(text: Path) -> Path:
    """File of a supernet that has learned something."""
    space: Any = hwnas.space(SPACE)
    corpus, shared = load_corpus(space, str(text)), SharedWeights(space)
    shared.reset(0)
    settings = SupernetSettings(training=TrainingSettings(steps=20, learning_rate=1e-2))
    train_supernet(shared, corpus.train, settings)
    source = {"source": str(text), "held_out": 0.1, "tokenizer_name": "bytes"}
    description = Description(
        space=space.to_dict(),
        text=source,
        text_sha256=corpus.sha256,
        settings=settings.to_dict(),
        step=20,
    )
    file = text.with_name("supernet.safetensors")
    write_supernet(file, shared, description)
    return file


def backend(text: Path, weights: Path, **settings: Any) -> Profile:
    space = settings.pop("space", SPACE)
    chosen = {"text": str(text), "weights": str(weights), "device": "cpu", "threads": 1}
    return Profile(hwnas.space(space), **{**chosen, **settings})


def evaluate(backend: Profile, n: int = 3, **arguments: Any) -> Any:
    codes = backend.space.sample(n, np.random.default_rng(0))
    objectives = parse_objectives(["perplexity", "bits_per_byte"])
    seeds = np.arange(n, dtype=np.uint64)
    return codes, backend.evaluate(codes, objectives, seeds=seeds, **arguments)


def test_perplexities_are_those_of_the_inherited_weights(text: Path, weights: Path) -> None:
    profile = backend(text, weights)
    codes, result = evaluate(profile)
    assert result.status == ["ok"] * 3
    shared, description = read_supernet(weights)
    corpus = load_corpus(shared.space, str(text))
    for arch, values in zip(shared.space.decode(codes), result.values, strict=True):
        expected = perplexity(shared.subnetwork(arch), corpus.held_out)
        assert values.tolist() == pytest.approx([expected.value, expected.bits_per_byte], 1e-5)
        assert values[0] < 60  # 257 without a training
    assert description.step == 20
    assert "with the weights of a supernet" in profile.metrics["perplexity"].meaning
    assert profile.data_hash() != backend(text, weights, held_out_tokens=50).data_hash()


def test_fewer_tokens(text: Path, weights: Path) -> None:
    few = backend(text, weights, held_out_tokens=50)
    assert len(few.corpus.held_out) == 50
    assert (evaluate(few)[1].values != evaluate(backend(text, weights))[1].values).all()


def test_more_training_is_a_higher_fidelity(text: Path, weights: Path, tmp_path: Path) -> None:
    training = {"steps": 30, "learning_rate": 3e-3}
    tuned = backend(text, weights, training=training, rungs=(0, 10))
    assert tuned.fidelities == (0, 10, 30)
    tuned.on_start(tmp_path)
    values = [evaluate(tuned, fidelity=f)[1].values for f in (0, 10, 30)]
    assert np.array_equal(values[0], evaluate(backend(text, weights))[1].values)
    assert (values[2][:, 0] < values[0][:, 0]).all()
    # From rung to rung or at once, the training is the same.
    alone = backend(text, weights, training=training)
    assert np.allclose(evaluate(alone)[1].values, values[2], rtol=1e-5)


def test_a_search_with_rungs(text: Path, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("syne_tune")
    result = hwnas.run(
        {
            "name": "inherited",
            "space": SPACE,
            "backend": {
                "type": "profile",
                "text": str(text),
                "weights": str(weights),
                "device": "cpu",
                "threads": 1,
                "training": {"steps": 4},
                "rungs": [0, 2],
            },
            "objectives": ["perplexity", "params"],
            "optimizers": ["moasha"],
            "budget": {"evaluations": 6},
            "seeds": 1,
        },
        tmp_path / "run",
        draw=False,
    )
    fidelities = result.searches[0].trials.fidelity.tolist()
    assert fidelities[0] == 0
    assert {*fidelities} <= {0, 2, 4}


def test_errors(text: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("some\n\nother text, which is long enough\n\nto be used")
    with pytest.raises(InvalidInput, match=r"was trained on other text or tokens.*expected text: "):
        _ = backend(other, weights).corpus
    with pytest.raises(InvalidInput, match=r"weights: .* lacks architectures .*embed_dim"):
        backend(text, weights, space={**SPACE, "embed_dim": [16, 24]})
    with pytest.raises(InvalidInput, match=r"weights: .* has context 16, space tiny has 32"):
        backend(text, weights, space={**SPACE, "context": 32})
    with pytest.raises(InvalidInput, match="no such file"):
        backend(text, tmp_path / "none")
    with pytest.raises(InvalidInput, match="rungs: expected increasing"):
        backend(text, weights, rungs=(0, 1))
    with pytest.raises(InvalidInput, match="held_out_tokens: expected at least 1"):
        backend(text, weights, held_out_tokens=0)


def test_files_of_strangers(weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = tmp_path / "x.safetensors"
    save_file(tensors := load_file(weights), file)
    with pytest.raises(InvalidInput, match="expected the weights of a supernet, found others"):
        read_description(file)
    file.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InvalidInput, match="as safetensors"):
        read_supernet(file)
    shared, description = read_supernet(weights)
    shared.weights["norm.weight"] = tensors["norm.weight"][:5]
    write_supernet(file, shared, description)
    with pytest.raises(InvalidInput, match=r"norm.weight: expected \(32,\).*found \(5,\)"):
        read_supernet(file)
