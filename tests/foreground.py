"""The command line as a process that heeds signals, also where the tests run in the background.

A shell lets background processes ignore SIGINT, and nohup lets them ignore SIGHUP; their children
do the same.
"""

from __future__ import annotations

import sys

_CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
from hwnas.cli.main import main
main()
"""
HWNAS = [sys.executable, "-c", _CODE]
