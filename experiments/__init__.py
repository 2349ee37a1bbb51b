"""Experiments that come with hwnas; run one by its name: ``hwnas run quickstart``."""
