"""Tasks of EleutherAI's lm-eval harness, on an exported directory."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.files import unreadable
from hwnas.profiling.data.tokenizer_interface import Tokenizer
from hwnas.profiling.export.load import ExportedModel, transformers_model
from hwnas.profiling.export.tokenizer_files import end_token, tokenizer_description

_LISTED = 20  # names of tasks in an error


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Score of a model in a task.

    Attributes
    ----------
    task, metric
        Names of lm-eval; the metric has its filter behind a comma, unless that is ``none``.
    value, std
        The score and its standard error; None where lm-eval gives none.
    count
        Number of documents.
    """

    task: str
    metric: str
    value: float
    std: float | None
    count: int


def run_tasks(
    model: ExportedModel, tasks: Sequence[str], *, limit: int | None = None, batch_size: int = 8
) -> list[TaskScore]:
    """Evaluate a model in tasks of lm-eval.

    Parameters
    ----------
    model
        Model of the formats transformers or safetensors, with a tokenizer.
    tasks
        Files of tasks, ``NAME.yaml``, or names of tasks of lm-eval.
    limit
        Number of documents of each task; None for all.
    batch_size
        Sequences that are evaluated at once.

    Raises
    ------
    InvalidInput
        The format or a task is unsuitable.
    UnknownName
        lm-eval has no task of a name.
    MissingExtra
        lm-eval is not installed.
    """
    if model.tokenizer is None:
        raise InvalidInput("tasks: expected a model with a tokenizer")
    try:
        library = import_module("lm_eval")
        manager = import_module("lm_eval.tasks").TaskManager()
        adapter = import_module("lm_eval.models.huggingface").HFLM
    except ImportError as error:
        raise MissingExtra("an evaluation in tasks", "lm_eval", "eval") from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    chosen = [_task(name, manager) for name in tasks]
    wrapped = adapter(
        pretrained=transformers_model(model),
        tokenizer=fast_tokenizer(model.tokenizer, model.context),
        max_length=model.context,
        batch_size=batch_size,
        device=str(model.device),
    )
    try:
        results = library.simple_evaluate(
            model=wrapped, tasks=chosen, task_manager=manager, limit=limit
        )
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInput(f"tasks: lm-eval: {type(error).__name__}: {reason}") from error
    return _scores(results)


def fast_tokenizer(encoder: Tokenizer, context: int) -> Any:
    """Return a tokenizer of the library transformers."""
    description = tokenizer_description(encoder)
    end = end_token(description, encoder.end)
    library = import_module("tokenizers")
    return import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=library.Tokenizer.from_str(json.dumps(description)),
        bos_token=end,
        eos_token=end,
        pad_token=end,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def _task(name: str, manager: Any) -> Any:
    """Return the name of a task, or the content of its file."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidInput(unreadable(name))
        return str(name)
    if name not in manager.all_tasks:
        raise UnknownName("task of lm-eval", name, manager.all_tasks)
    return name


def _scores(results: Any) -> list[TaskScore]:
    """Return the scores in the results of ``simple_evaluate``."""
    scores = []
    for task, values in results["results"].items():
        count = int(results["n-samples"][task]["effective"])
        for key, value in values.items():
            metric, comma, kind = key.partition(",")
            if not comma or not isinstance(value, int | float) or metric.endswith("_stderr"):
                continue  # other facts about the task, and errors
            std = values.get(f"{metric}_stderr,{kind}")
            name = metric if kind == "none" else key
            is_number = isinstance(std, int | float)
            scores.append(TaskScore(task, name, float(value), std if is_number else None, count))
    return scores
