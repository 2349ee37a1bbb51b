"""Web application of the explorer: answers to the page as JSON, for this machine only.

No request changes anything but which computation runs in the background. So a page needs no token;
what matters is that no page of somebody else can read or ask: the name of the host must be a
loopback one, which defeats rebinding of names, and browsers say whether a request comes from
another site. See docs/security.md.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from hwnas.errors import HwnasError, InvalidInput, MissingExtra
from hwnas.explorer.architectures import architecture_names, describe_architecture
from hwnas.explorer.background import BackgroundFronts
from hwnas.explorer.catalogue import Catalogue, describe_space, ranges
from hwnas.explorer.fronts import filtered_front, front_payload
from hwnas.explorer.overlays import RunOverlays
from hwnas.explorer.queries import FrontQuery, front_command, parse_query

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError:
    raise MissingExtra("hwnas explore", "starlette", "web") from None

FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/details.js": ("details.js", "text/javascript"),
    "/explorer.js": ("explorer.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_BODY = 8_000_000  # bytes: the codes of a whole front
_MAX_NAMES = 200  # metrics whose ranges are asked for at once


@dataclass(frozen=True, slots=True)
class Explorer:
    """What the application answers from.

    Attributes
    ----------
    catalogue
        Spaces on offer.
    background
        Exact fronts in processes of their own.
    overlays
        Runs that are drawn over the fronts.
    """

    catalogue: Catalogue
    background: BackgroundFronts
    overlays: RunOverlays


def create_app(explorer: Explorer) -> Starlette:
    """Return the web application; its processes start and end with it."""
    answers: dict[str, Callable[[Explorer, Request], Any]] = {
        "/api/spaces": lambda explorer, request: _spaces(explorer),
        "/api/space": _space,
        "/api/ranges": _ranges,
        "/api/front": _front,
        "/api/exact": _exact,
        "/api/cancel": _cancel,
        "/api/architecture": _architecture,
        "/api/runs": _runs,
    }
    routes = [Route(path, _file(*file), methods=["GET"]) for path, file in FILES.items()]
    routes += [
        Route(path, _endpoint(explorer, answer), methods=["GET"])
        for path, answer in answers.items()
    ]
    routes.append(Route("/api/names", _names(explorer), methods=["POST"]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        explorer.background.start()
        try:
            yield
        finally:
            explorer.background.close()

    app = Starlette(routes=routes, lifespan=lifespan)
    app.add_middleware(LocalOnly)
    return app


class LocalOnly:
    """Refuse requests under another name than this machine's, and those of other sites.

    Parameters
    ----------
    app
        The application behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [
            (key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]
        ]
        if reason := refusal(headers, scope["path"]):
            response = Response(f"{reason}\n", 403, HEADERS, media_type="text/plain")
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def refusal(headers: list[tuple[str, str]], path: str = "/") -> str:
    """Return why a request is refused, empty if it is not.

    Parameters
    ----------
    headers
        Names in lower case, and values.
    path
        Path that is asked for. Following a link to the page itself is allowed from anywhere.

    Examples
    --------
    >>> refusal([("host", "localhost:8730")])
    ''
    >>> refusal([("host", "evil.example:8730")])
    'expected the host localhost or 127.0.0.1'
    >>> refusal([("host", "localhost:8730"), ("origin", "https://evil.example")], "/api/front")
    'a page of another site asked'
    """
    hosts = [value for key, value in headers if key == "host"]
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        return "expected the host localhost or 127.0.0.1"
    fields = dict(headers)
    is_foreign = fields.get("sec-fetch-site", "none") not in ("none", "same-origin")
    if "origin" in fields:
        is_foreign |= fields["origin"] != f"http://{hosts[0]}"
    if is_foreign and not (path == "/" and fields.get("sec-fetch-mode") == "navigate"):
        return "a page of another site asked"
    return ""


def _is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine."""
    name, bracket, _ = host.rpartition("]")
    name = f"{name}{bracket}".strip("[]") if bracket else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# -- answers ---------------------------------------------------------------------------------------


def _spaces(explorer: Explorer) -> Any:
    return {
        "spaces": explorer.catalogue.names,
        "runs": [path.resolve().name for path in explorer.overlays.paths],
    }


def _space(explorer: Explorer, request: Request) -> Any:
    return describe_space(explorer.catalogue, _text(request, "space"))


def _ranges(explorer: Explorer, request: Request) -> Any:
    names = request.query_params.getlist("metric")
    if len(names) > _MAX_NAMES:
        raise InvalidInput(f"expected at most {_MAX_NAMES} metrics, found {len(names)}")
    return ranges(explorer.catalogue.bench(_text(request, "space")), names)


def _front(explorer: Explorer, request: Request) -> Any:
    query = _query(explorer, request)
    front = filtered_front(explorer.catalogue.bench(query.space), query)
    payload = front_payload(front, is_filtered=front.epsilon is None)
    return {**payload, "command": front_command(explorer.catalogue, query)}


def _exact(explorer: Explorer, request: Request) -> Any:
    query = _query(explorer, request)
    front = explorer.background.solve(_text(request, "page"), query)
    if front is None:
        return {"superseded": True}
    payload = front_payload(front, is_filtered=False)
    return {**payload, "command": front_command(explorer.catalogue, query)}


def _cancel(explorer: Explorer, request: Request) -> Any:
    explorer.background.cancel(_text(request, "page"))
    return {}


def _architecture(explorer: Explorer, request: Request) -> Any:
    return describe_architecture(
        explorer.catalogue, _text(request, "space"), _text(request, "code")
    )


def _runs(explorer: Explorer, request: Request) -> Any:
    query = _query(explorer, request)
    bench = explorer.catalogue.bench(query.space)
    return {"runs": explorer.overlays.payload(bench, query.objectives)}


def _query(explorer: Explorer, request: Request) -> FrontQuery:
    objectives = [_text(request, "x"), _text(request, "y")]
    bounds = request.query_params.getlist("bound")
    return parse_query(explorer.catalogue, _text(request, "space"), objectives, bounds)


def _text(request: Request, name: str) -> str:
    """Return a parameter of a request.

    Raises
    ------
    InvalidInput
        It is missing.
    """
    value = request.query_params.get(name)
    if not value:
        raise InvalidInput(f"expected a parameter {name}, found none")
    return value


# -- responses -------------------------------------------------------------------------------------


def _endpoint(explorer: Explorer, answer: Callable[[Explorer, Request], Any]) -> Any:
    """Return an endpoint that answers in a thread, and errors of the user with their message."""

    async def endpoint(request: Request) -> Response:
        try:
            return _json(await run_in_threadpool(answer, explorer, request))
        except HwnasError as error:
            return _json({"error": str(error)}, 400)

    return endpoint


def _names(explorer: Explorer) -> Any:
    """Return the endpoint of the names of a front's members, for a download."""

    async def endpoint(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _json({"error": f"expected at most {MAX_BODY:,} bytes"}, 413)
        try:
            space, code = _text(request, "space"), body.decode("utf-8")
            names = await run_in_threadpool(architecture_names, explorer.catalogue, space, code)
            return _json({"names": names})
        except UnicodeDecodeError:
            return _json({"error": "expected UTF-8 text"}, 400)
        except HwnasError as error:
            return _json({"error": str(error)}, 400)

    return endpoint


def _file(name: str, media_type: str) -> Any:
    """Return the endpoint of a file of the page."""
    content = (resources.files("hwnas.explorer") / "page" / name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, 200, HEADERS, media_type=f"{media_type}; charset=utf-8")

    return endpoint


def _json(content: Any, status: int = 200) -> Response:
    """Return a JSON response; numbers that JSON does not have become null."""
    text = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return Response(text, status, HEADERS, media_type="application/json")


def _finite(content: Any) -> Any:
    """Return a JSON value with ``None`` for numbers that are not finite."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
