"""Models of outcomes: factors of layers, values that an earlier search has measured."""

from __future__ import annotations

import numpy as np
import pytest
from hwnas_plugins._outcome_models import OutcomeModels

import hwnas
from hwnas.additive.choice import create_effects
from hwnas.additive.layer_factors import FactoredEffects
from hwnas.additive.model import Design
from hwnas.additive.transferred_effects import TransferredEffects
from hwnas.errors import InvalidInput
from hwnas.history import History
from hwnas.related_trials import RelatedTrials
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes

OBJECTIVES = ["perplexity", "latency@h100"]


def sample(name: str, n: int, seed: int) -> tuple[Codes, Array]:
    space = hwnas.space(name)
    codes = np.unique(space.sample(n, np.random.default_rng(seed)), axis=0)
    return codes, hwnas.surrogate(name).predict(codes, OBJECTIVES)


def history_of(codes: Codes, losses: Array, std: float = 0.0) -> History:
    history = History(codes.shape[1], losses.shape[1], 0)
    history.add(codes, losses, np.full_like(losses, std), np.empty((len(codes), 0)))
    return history


def related(name: str, codes: Codes, values: Array, is_same: list[bool]) -> RelatedTrials:
    outcomes = np.arange(values.shape[1])
    std = np.zeros_like(values)
    return RelatedTrials(hwnas.space(name), codes, values, std, outcomes, np.array(is_same))


@pytest.mark.parametrize(("std", "expected"), [(0.0, True), (0.3, False)])
def test_noise_turns_factors_off(std: float, expected: bool) -> None:
    codes, losses = sample("gpt-s", 30, seed=0)
    models = OutcomeModels(2).fit(
        create_effects(hwnas.space("gpt-s")), history_of(codes, losses, std), []
    )
    assert [isinstance(model.effects, FactoredEffects) for model in models] == [expected] * 2


def test_known_values_are_data() -> None:
    """Values of the same outcome predict as if they had been measured."""
    effects = create_effects(hwnas.space("gpt-s"))
    codes, losses = sample("gpt-s", 10, seed=0)
    earlier, known = sample("gpt-s", 150, seed=1)
    models = OutcomeModels(2)
    models.learn(effects, related("gpt-s", earlier, known[:, :1], [True]))
    perplexity, latency = models.fit(effects, history_of(codes, losses), [])
    assert len(latency.modeled) == len(codes)
    measured = {code.tobytes() for code in codes}
    assert len(perplexity.modeled) == len(codes) + sum(
        code.tobytes() not in measured for code in earlier
    )
    test, truth = sample("gpt-s", 100, seed=2)
    predicted = perplexity.mean(Design(perplexity.effects, test))
    assert np.corrcoef(predicted, truth[:, 0])[0, 1] > 0.995


def test_an_architecture_that_is_measured_again_counts_once() -> None:
    effects = create_effects(hwnas.space("gpt-s"))
    codes, losses = sample("gpt-s", 12, seed=0)
    models = OutcomeModels(2)
    models.learn(effects, related("gpt-s", codes, losses + 1.0, [True, True]))
    for model in models.fit(effects, history_of(codes, losses), []):
        assert len(model.modeled) == len(codes)


def test_terms_of_another_space_help() -> None:
    """With terms of gpt-s, few perplexities of gpt-l predict others better than without."""
    effects = create_effects(hwnas.space("gpt-l"))
    trials = related("gpt-s", *sample("gpt-s", 100, seed=1), [False, False])
    test, truth = sample("gpt-l", 200, seed=2)
    squares = np.zeros(2)  # without and with terms
    for seed in range(4):
        history = history_of(*sample("gpt-l", 10, seed=10 + seed))
        for is_warm in (False, True):
            models = OutcomeModels(2)
            if is_warm:
                models.learn(effects, trials)
            model = models.fit(effects, history, [])[0]
            predicted = model.mean(Design(model.effects, test))
            squares[int(is_warm)] += ((predicted - truth[:, 0]) ** 2).mean()
            plain = model.effects.plain if isinstance(model.effects, FactoredEffects) else effects
            assert isinstance(plain, TransferredEffects) == is_warm
    assert squares[1] < 0.85 * squares[0]


def test_spaces_without_layers_learn_no_terms() -> None:
    flat = SearchSpace("flat", {"a": list(range(4)), "b": list(range(4))})
    codes = flat.sample(8, np.random.default_rng(0))
    trials = RelatedTrials(
        flat, codes, np.ones((8, 1)), np.zeros((8, 1)), np.arange(1), np.array([False])
    )
    with pytest.raises(InvalidInput, match=r"flat: .*expected a space with layers"):
        OutcomeModels(2).learn(create_effects(flat), trials)
