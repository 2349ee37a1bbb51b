"""Run the explorer on a port of this machine until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from hwnas.errors import InvalidInput, MissingExtra
from hwnas.explorer.app import Explorer, create_app
from hwnas.explorer.background import BackgroundFronts
from hwnas.explorer.catalogue import Catalogue
from hwnas.explorer.overlays import RunOverlays

try:
    import uvicorn
except ImportError:
    raise MissingExtra("hwnas explore", "uvicorn", "web") from None

HOST = "127.0.0.1"
PORT = 8730


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback interface.

    Parameters
    ----------
    port
        Its number; 0 for any free one.

    Raises
    ------
    InvalidInput
        The port is taken, or not for this user.

    Examples
    --------
    >>> with listen(0) as listening:
    ...     listening.getsockname()[0]
    '127.0.0.1'
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is in use" if is_taken else "cannot be used"
        raise InvalidInput(f"--port {port}: {reason}; give another, or 0 for any") from None
    return listening


def explore(
    runs: Sequence[Path] = (),
    *,
    spaces: Sequence[str] = (),
    tables: Sequence[str] = (),
    port: int = PORT,
    open_browser: bool = True,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the explorer until an interrupt.

    Parameters
    ----------
    runs
        Directories of runs to draw, which may still be running.
    spaces, tables
        See `hwnas.explorer.catalogue.Catalogue`.
    port
        Port on the loopback interface; 0 for any free one.
    open_browser
        Whether to open the page.
    announce
        Called with the address once the page can be opened.

    Raises
    ------
    InvalidInput
        A run, a space or a table cannot be read, or the port is taken.
    """
    catalogue = Catalogue(spaces, tables)
    explorer = Explorer(catalogue, BackgroundFronts(catalogue), RunOverlays(runs))
    app = create_app(explorer)
    with listen(port) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=64,
        )
        announce(address)
        if open_browser:
            webbrowser.open(address)  # the socket listens already: the page waits for the server
        try:
            # uvicorn raises the signal that stopped it once more.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            explorer.background.close()
