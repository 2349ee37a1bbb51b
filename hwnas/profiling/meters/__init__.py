"""Meters of latency, energy, memory and perplexity."""
