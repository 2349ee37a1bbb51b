"""Optimizers, backends and families of spaces with one fault each, and some without one."""

from __future__ import annotations

from broken import backends, correct, protocol, quality, results, spaces
from hwnas.backends import Backend
from hwnas.optimizers import Optimizer
from hwnas.spaces import SearchSpace

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
    ("spaces", protocol.NeedsLayers),
    ("spaces", protocol.NeedsBias),
    ("spaces", protocol.IgnoresConditions),
    ("order", results.RequiresOrder),
    ("asynchronous", results.WaitsThoughAsynchronous),
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
    ("start-with", results.ProposesDesign),
    ("tell-related", results.TakesRelatedForResults),
    ("minimises", quality.SignError),
    ("beats-random", quality.LearnsNothing),
    ("units", quality.UnscaledSum),
    ("constraints", quality.IgnoresConstraints),
    ("constraints", quality.SamplesUniformly),
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

SPACES: list[tuple[str, type[SearchSpace]]] = [
    ("settings", spaces.NoAnnotation),
    ("named", spaces.Renames),
    ("refusals", spaces.CrashesOnNonsense),
    ("refusals", spaces.ManyLines),
    ("size", spaces.WrongSize),
    ("size", spaces.YieldsTwice),
    ("samples", spaces.PrefersDeep),
    ("samples", spaces.GlobalGenerator),
    ("canonical", spaces.KeepsInactive),
    ("decode", spaces.ForgetsNorm),
    ("decode", spaces.DecodesAnything),
    ("neighbours", spaces.Isolated),
    ("neighbours", spaces.OwnNeighbour),
    ("closed-forms", spaces.NegativeForm),
    ("closed-forms", spaces.FractionalForm),
    ("closed-forms", spaces.BatchForm),
    ("strings", spaces.ParsesAnything),
    ("to-dict", spaces.ForgetsWidths),
    ("to-dict", spaces.LosesForms),
    ("pickles", spaces.HoldsFunction),
]
