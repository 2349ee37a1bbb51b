"""Why a trial failed, and how the memory that it held is given back.

::

    TrialFailed         the network could not be trained or valued; the run goes on
    ├── Diverged        the loss is not finite any more
    ├── OutOfMemory     the device has not enough memory
    └── TimedOut        it took longer than it may
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

from hwnas.errors import HwnasError


class TrialFailed(HwnasError):
    """A network could not be trained or valued. Its text is the reason, in one line."""


class Diverged(TrialFailed):
    """The loss is not finite any more."""


class OutOfMemory(TrialFailed):
    """The device has not enough memory."""


class TimedOut(TrialFailed):
    """It took longer than it may."""


@contextmanager
def memory_given_back(device: torch.device, what: str) -> Iterator[None]:
    """Run a block; afterwards the device's memory is free again, also when it was not enough.

    Parameters
    ----------
    what
        What the block does, for the reason: ``"training gpt-s-..."``.

    Raises
    ------
    OutOfMemory
        In place of whatever torch raised for it.
    """
    generation = 1  # a whole collection takes a third of a second, beside a training of two
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError, TrialFailed) as error:
        if not isinstance(error, TrialFailed) and not _is_out_of_memory(error):
            raise
        generation = 2
        clear_frames(error.__traceback__)  # or the error would go on holding their tensors
        if isinstance(error, TrialFailed):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise OutOfMemory(f"{what}: not enough memory on {device}: {reason}") from None
    finally:
        gc.collect(generation)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing; on a CPU torch says so with a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error)
