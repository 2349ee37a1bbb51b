"""Optimizers and backends with one fault each, and two of both without one."""

from __future__ import annotations

from broken import backends, correct, protocol, quality, results
from hwnas.backends import Backend
from hwnas.optimizers import Optimizer

CORRECT_OPTIMIZERS: list[type[Optimizer]] = [
    correct.HillClimber,
    correct.RandomSearch,
    correct.DisregardsConstraints,
    correct.AllFidelities,
]

# Each fails one check and no other.
OPTIMIZERS: list[tuple[str, type[Optimizer]]] = [
    ("settings", protocol.AcceptsAnySetting),
    ("settings", protocol.EmptyGenerations),
    ("settings", protocol.UndecidedAboutConstraints),
    ("seed", protocol.Unseeded),
    ("another-seed", protocol.FixedSeed),
    ("replays", protocol.UnseededAfterResults),
    ("alone", protocol.SharedGenerator),
    ("global-random", protocol.ReadsGlobalGenerator),
    ("global-random", protocol.SeedsGlobalGenerator),
    ("codes", protocol.NonCanonicalCodes),
    ("codes", protocol.Int64Codes),
    ("codes", protocol.FortranOrder),
    ("codes", protocol.TooManyCodes),
    ("duplicates", protocol.RepeatsProposals),
    ("waiting", protocol.EmptyAnswers),
    ("exhausted", protocol.ExhaustedTooEarly),
    ("exhausted", protocol.NeverExhausted),
    ("inputs", protocol.ReadsReturnedArray),
    ("order", results.RequiresOrder),
    ("foreign", results.OwnProposalsOnly),
    ("foreign", results.IgnoresForeignResults),
    ("failures", results.WaitsForFailures),
    ("refusals", results.NoValidation),
    ("refusals", results.CountsRefusedResults),
    ("flat", results.DividesByRange),
    ("noise", results.NoStandardErrors),
    ("objectives", results.TwoObjectivesOnly),
    ("recommends", results.RecommendsFirst),
    ("recommends", results.RecommendsInfeasible),
    ("recommends", results.DisregardsConstraintsThroughout),
    ("minimises", quality.SignError),
    ("beats-random", quality.LearnsNothing),
    ("units", quality.UnscaledSum),
    ("constraints", quality.IgnoresConstraints),
    ("rungs", quality.NeverTopFidelity),
    ("rungs", quality.InvalidFidelity),
]

BACKENDS: list[tuple[str, type[Backend]]] = [
    ("settings", backends.UntypedSetting),
    ("metrics", backends.DeclaresParams),
    ("values", backends.InfiniteValues),
    ("deterministic", backends.Unrepeatable),
    ("global-random", backends.GlobalNoise),
    ("batches", backends.NormalizesBatch),
    ("columns", backends.AlphabeticalOrder),
    ("noise", backends.AlwaysNoisy),
    ("noise", backends.ConstantNoise),
    ("fidelities", backends.UndeclaredFidelity),
    ("unknown-metric", backends.AnswersAnyMetric),
    ("front", backends.UnattainableFront),
    ("front", backends.ArbitraryFront),
    ("inputs", backends.OverwritesCodes),
    ("data-hash", backends.InvalidHash),
]
