"""Driver of a headless Chromium over the DevTools protocol, without a library or a port.

Messages are JSON terminated by a zero byte; the browser reads them from file descriptor 3 and
answers on 4 (https://chromedevtools.github.io/devtools-protocol).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 60.0


def binary() -> str | None:
    """Return the path of Chromium, or ``None`` if it is not installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """A tab of the browser.

    Parameters
    ----------
    pipes
        File descriptors to read answers from and to write messages to.

    Attributes
    ----------
    troubles
        Exceptions, errors and warnings on the console of the page.
    requests
        All requested addresses.
    """

    def __init__(self, pipes: tuple[int, int]) -> None:
        self._read, self._write = pipes
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.troubles: list[str] = []
        self.requests: list[str] = []
        # Attach to a new tab; with `flatten` its messages have a session id.
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result.

        Events that arrive before the answer are recorded.
        """
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        # Events can arrive before the answer.
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._record(answer)

    def open(self, file: Path, *, width: int = 1200, height: int = 1000, ready: str) -> float:
        """Open a file and return the seconds until it sets the performance mark `ready`."""
        self.resize(width, height)
        self.troubles.clear()
        self.requests.clear()
        start = time.perf_counter()
        self.call("Page.navigate", url=file.resolve().as_uri())
        is_ready = f"performance.getEntriesByName({ready!r}).length > 0"
        while not self.run(is_ready):
            if time.perf_counter() - start > TIMEOUT_S:
                raise TimeoutError(f"{file}: no mark {ready!r}; {self.troubles}")
            time.sleep(0.01)
        return time.perf_counter() - start

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str, *, medium: str = "") -> None:
        """Set the preferred color scheme, light or dark, on screen or in ``"print"``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def mouse(self, event: str, x: float, y: float, **parameters: Any) -> None:
        """Send ``"mouseMoved"``, ``"mousePressed"`` or ``"mouseReleased"`` at a point."""
        self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, **parameters)

    def click(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        self.mouse("mouseMoved", x, y)
        for event in ("mousePressed", "mouseReleased"):
            self.mouse(event, x, y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, file: Path, *, full_page: bool = False) -> None:
        """Save the visible part of the page, or all of it, as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=full_page)
        file.write_bytes(base64.b64decode(answer["data"]))

    def _next(self) -> dict[str, Any]:
        """Return the next message of the browser: an answer or an event."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], TIMEOUT_S)[0]:
                raise TimeoutError("Chromium does not answer")
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                raise RuntimeError("Chromium has exited")
            self._buffer += chunk
        # One message may come in several chunks, or several in one.
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))

    def _record(self, event: dict[str, Any]) -> None:
        """Record an event if it is a request or a problem of the page."""
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.troubles.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.troubles.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.troubles.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextlib.contextmanager
def opened() -> Iterator[Page]:
    """Run Chromium with one page while the context is open."""
    path = binary()
    assert path is not None, "no Chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [
            path,
            "--headless=new",
            "--no-sandbox",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={home}",
        ]
        to_browser, from_browser = os.pipe(), os.pipe()
        # Move the browser's ends away from descriptors 3 and 4, which a pipe may have itself.
        ends = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (to_browser[0], from_browser[1])
        ]
        os.close(to_browser[0])
        os.close(from_browser[1])
        # The browser expects its pipes at descriptors 3 and 4.
        actions = [
            (os.POSIX_SPAWN_DUP2, ends[0], 3),
            (os.POSIX_SPAWN_DUP2, ends[1], 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        environment = {**os.environ, "HOME": home}
        process = os.posix_spawn(path, arguments, environment, file_actions=actions, setpgroup=0)
        for fd in ends:
            os.close(fd)
        try:
            yield Page((from_browser[0], to_browser[1]))
        finally:
            # Kill the process group, which includes the renderers.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(to_browser[1])
            os.close(from_browser[0])
