"""JSON Schemas of the keys of an experiment that may be written in several forms."""

from __future__ import annotations

from typing import Any

from hwnas.form_errors import MAX_SEED, MAX_SEEDS, MAX_SHARED
from hwnas.spaces.precision import PRECISIONS

_SEED = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
SEEDS: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS},
        {"type": "array", "items": _SEED, "minItems": 1},
    ]
}
SPACE: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "description": "name and choices, with layers, depth, conditions and allowed "
            "if there are any; or family, name and the settings of the family",
        },
    ]
}
INITIAL: dict[str, Any] = {
    "anyOf": [
        {"const": "shared"},
        {
            "type": "object",
            "properties": {"shared": {"type": "integer", "minimum": 1, "maximum": MAX_SHARED}},
            "required": ["shared"],
            "additionalProperties": False,
        },
    ]
}
WORKLOADS: dict[str, Any] = {
    "type": "object",
    "description": "workloads by name, beside forward, chat and serve",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": {
        "type": "object",
        "properties": {
            "prompt": {"type": "integer", "minimum": 1},
            "generate": {"type": "integer", "minimum": 0},
            "batch": {"type": "integer", "minimum": 1},
            "precision": {"enum": [*PRECISIONS], "default": "bfloat16"},
        },
        "required": ["prompt", "generate", "batch"],
        "additionalProperties": False,
    },
}
