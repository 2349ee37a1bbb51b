"""Experiments that ship with hwnas; run one by its name: ``hwnas run quickstart``."""
