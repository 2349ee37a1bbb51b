"""Executors: where searches, and the trials of one search, are run.

`run_all` runs whole searches, one after another in this process or side by side in workers.
`hwnas.runner.executors.interface` evaluates the trials of one search in parallel.
"""

from hwnas.runner.executors.searches import run_all
from hwnas.runner.executors.threads import one_thread

__all__ = ["one_thread", "run_all"]
