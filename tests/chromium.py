"""A headless Chromium to look at pages with, over its own protocol: no library, no port.

Messages are JSON that ends with a zero byte; the browser reads them from its file descriptor 3 and
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
PATIENCE_S = 60.0


def binary() -> str | None:
    """Where a Chromium is, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A tab.

    Attributes
    ----------
    troubles
        What the page has complained of: exceptions, errors and warnings on the console.
    requests
        Every address that was asked for.
    """

    def __init__(self, pipes: tuple[int, int]) -> None:
        self._read, self._write = pipes
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.troubles: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def open(self, file: Path, *, width: int = 1200, height: int = 1000, ready: str) -> float:
        """Open a file; seconds until `ready` is the name of a mark of its performance."""
        self.resize(width, height)
        self.troubles.clear()
        self.requests.clear()
        began = time.perf_counter()
        self.call("Page.navigate", url=file.resolve().as_uri())
        found = f"performance.getEntriesByName({ready!r}).length > 0"
        while not self.run(found):
            if time.perf_counter() - began > PATIENCE_S:
                raise TimeoutError(f"{file}: no mark {ready!r}; {self.troubles}")
            time.sleep(0.01)
        return time.perf_counter() - began

    def resize(self, width: int, height: int) -> None:
        """Give the window a size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str, *, medium: str = "") -> None:
        """Prefer ``"light"`` or ``"dark"``, on screen or in ``"print"``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
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

    def mouse(self, what: str, x: float, y: float, **how: Any) -> None:
        """Let the mouse be ``"mouseMoved"``, ``"mousePressed"`` or ``"mouseReleased"``."""
        self.call("Input.dispatchMouseEvent", type=what, x=x, y=y, **how)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        self.mouse("mouseMoved", x, y)
        for what in ("mousePressed", "mouseReleased"):
            self.mouse(what, x, y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """Save what is to be seen, or the whole page, as a PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], PATIENCE_S)[0]:
                raise TimeoutError("Chromium does not answer")
            some = os.read(self._read, 1 << 16)
            if not some:
                raise RuntimeError("Chromium has gone")
            self._buffer += some
        text, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.troubles.append(json.dumps(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.troubles.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.troubles.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


@contextlib.contextmanager
def opened() -> Iterator[Page]:
    """A Chromium with one page, for as long as it is needed."""
    found = binary()
    assert found is not None, "no Chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        arguments = [
            found,
            "--headless=new",
            "--no-sandbox",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={home}",
        ]
        ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
        # Out of the way of 3 and 4, which a pipe can have got itself.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (ours[0], theirs[1])]
        os.close(ours[0])
        os.close(theirs[1])
        actions = [
            (os.POSIX_SPAWN_DUP2, high[0], 3),
            (os.POSIX_SPAWN_DUP2, high[1], 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        environment = {**os.environ, "HOME": home}
        process = os.posix_spawn(found, arguments, environment, file_actions=actions, setpgroup=0)
        for fd in high:
            os.close(fd)
        try:
            yield Page((theirs[0], ours[1]))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(ours[1])
            os.close(theirs[0])
