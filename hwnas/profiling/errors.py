"""Reasons for which a trial fails, and the release of the memory that a failed trial occupies.

::

    TrialFailed         the model could not be trained or evaluated; the search continues
    ├── Diverged        the loss is not finite
    ├── OutOfMemory     the device has not enough memory
    └── TimedOut        the time limit is exceeded
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

from hwnas.errors import HwnasError


class TrialFailed(HwnasError):
    """Model that could not be trained or evaluated; the message is the reason, in one line."""


class Diverged(TrialFailed):
    """Loss that is not finite."""


class OutOfMemory(TrialFailed):
    """Device that has not enough memory."""


class TimedOut(TrialFailed):
    """Time limit that is exceeded."""


@contextmanager
def release_memory(device: torch.device, action: str) -> Iterator[None]:
    """Run a block and release the device's memory afterwards, also if it was not sufficient.

    Parameters
    ----------
    device
        Device on which the block allocates memory.
    action
        Description of the block for the error message: ``"training gpt-s-..."``.

    Raises
    ------
    OutOfMemory
        The block ran out of memory. It replaces torch's and Python's own errors.
    """
    # A complete collection takes a third of a second, which is much next to a training of two
    # seconds. It is needed only after an error, whose traceback forms reference cycles.
    generation = 1
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError, TrialFailed) as error:
        if not isinstance(error, TrialFailed) and not _is_out_of_memory(error):
            raise
        generation = 2
        # The frames of the traceback refer to tensors; without this they stay alive with the error.
        clear_frames(error.__traceback__)
        if isinstance(error, TrialFailed):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise OutOfMemory(f"{action}: not enough memory on {device}: {reason}") from None
    finally:
        gc.collect(generation)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports missing memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # On a CPU torch raises a plain RuntimeError.
    return "can't allocate memory" in str(error)
