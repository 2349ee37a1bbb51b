"""Exports of runs to where people already look: Optuna studies, CSV and Parquet tables."""

from __future__ import annotations

__all__: list[str] = []
