"""What comes in at all: the right host and origin, known addresses, bodies of bounded size and duration.

It stands before everything else, in plain ASGI, so that nothing behind it sees more than it lets through.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

from crossdistill.serve.limits import MIB, Admission, Limits, RefusedError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Of Gradio's addresses only those that the page uses. What reads, writes or fetches files is not among them: a mounted
# Gradio takes any path that a client names for one of its uploads (`has_launched` in gradio/processing_utils.py).
_GET = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(?:assets|static)/[\w./@-]+"
    r"|/gradio_api/(?:queue/data|startup-events|heartbeat/\w+)|/(?:api|page)(?:/[\w.~%-]+)*"
)
_JSON = re.compile(r"/api/v1/runs/[\w.-]+/(?:embed/array|search/array|search/vector)")
_PAGE_BYTES = MIB // 4  # of what the page sends to Gradio: words and numbers. They are read here and by Gradio.
_POST = re.compile(r"/gradio_api/(?:queue/join|reset|cancel)/?|/api/v1/runs/[\w.-]+/[\w/]+|/page/queries")

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Gradio makes functions of its templates ('unsafe-eval') and styles of its themes. Nothing comes from elsewhere.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
        b"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
]


class Gate:
    """The outermost layer.

    Args:
        app: what is behind it.
        limits: on bodies.
        port: that the server listens on; addresses with another one are somebody else's.
    """

    def __init__(self, app: App, limits: Limits, port: int) -> None:
        self.app, self.limits = app, limits
        self._posts = Admission(limits.waiting)  # whose bodies are in memory
        names = ("127.0.0.1", "localhost", "[::1]")
        self.hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await _close(scope, receive, send)
            return
        held = ExitStack()
        try:
            most = self._check(scope)
            if scope["method"] == "POST":
                held.enter_context(self._posts.enter())
        except RefusedError as refusal:
            await tell(send, refusal)
            return
        with held:
            await self._pass(scope, receive, send, most)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        body = _Body(receive, _guarded(send), self.limits, most, _refuse_paths if _joins(scope) else None)
        try:
            await self.app(scope, body.receive, body.send)
        except Exception:  # the refusal, in whatever the app wrapped it
            if body.refusal is None:
                raise
        if body.refusal is not None and not body.started:
            await tell(send, body.refusal)

    def _check(self, scope: Scope) -> int:
        """Refuses a request by its header; returns how many bytes its body may have."""
        headers = [(name.lower(), value.decode("latin-1").lower()) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            raise RefusedError(
                "This server answers for its own address alone.", status=421, where="Host",
                expected=" or ".join(sorted(self.hosts)), received=", ".join(hosts)[:80] or "nothing",
            )  # fmt: skip
        for value in (value for name, value in headers if name == b"origin"):
            if value not in self.origins:
                raise RefusedError(
                    "Requests of other web pages are not answered.", status=403, where="Origin", received=value[:80]
                )
        method, path = scope["method"], scope["path"]
        get, post = _GET.fullmatch(path), _POST.fullmatch(path)
        if ".." in path or not (get or post):
            raise RefusedError("There is nothing at this address.", status=404, where=path[:200], fix="see /api/docs")
        if not ((method in ("GET", "HEAD") and get) or (method == "POST" and post)):
            raise RefusedError(
                "This address is asked in another way.", status=405, where=path[:200],
                expected="POST" if post else "GET", received=method,
            )  # fmt: skip
        length = next((value for name, value in headers if name == b"content-length"), "0")
        limit = self.limits.json_bytes if _JSON.fullmatch(path) else _PAGE_BYTES if _joins(scope) else None
        most = min(self.limits.upload_bytes, limit or self.limits.upload_bytes)
        if length.isdigit() and int(length) > most:
            raise _too_large(most, f"{int(length):,} bytes")
        return most


class _Body:
    """Counts what comes in, whatever the headers say; what is too much, or comes too slowly, ends the request."""

    def __init__(
        self, receive: Receive, send: Send, limits: Limits, most: int, check: Callable[[bytes], None] | None
    ) -> None:
        self._receive, self._send, self._limits, self._most, self._check = receive, send, limits, most, check
        self._count, self._done, self._whole = 0, False, bytearray()
        self._until = asyncio.get_running_loop().time() + limits.body_seconds
        self.refusal: RefusedError | None = None
        self.started = False

    async def receive(self) -> Message:
        if self._done:
            return await self._receive()  # a wait for the client to leave
        if self._check is None:
            return await self._part()
        while not self._done:
            message = await self._part()
            if message["type"] != "http.request":
                return message
            self._whole += message.get("body", b"")
        try:
            self._check(bytes(self._whole))
        except RefusedError as refusal:
            raise self._refused(refusal) from None
        return {"type": "http.request", "body": bytes(self._whole), "more_body": False}

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.started:
            return  # the app's own words about a body that it did not get
        self.started = True
        await self._send(message)

    async def _part(self) -> Message:
        left = self._until - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise self._refused(_too_slow(self._limits)) from None
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            self._done = not message.get("more_body", False)
            if self._count > self._most:
                raise self._refused(_too_large(self._most, "more"))
        return message

    def _refused(self, refusal: RefusedError) -> RefusedError:
        self.refusal = refusal
        return refusal


def _joins(scope: Scope) -> bool:
    return str(scope["path"]).startswith("/gradio_api/") and scope["method"] == "POST"


def _refuse_paths(body: bytes) -> None:
    """The page sends words and numbers; Gradio would take an object with a path in it for a file of this machine."""
    try:
        content = json.loads(body or b"null")
    except (ValueError, RecursionError):
        raise RefusedError("The body is no JSON.", status=400) from None
    pending = [content]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if "path" in each or "url" in each:
                raise RefusedError("Files are not sent in this way.", status=400, fix="see /api/docs")
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)


def _guarded(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return with_headers


async def tell(send: Send, refusal: RefusedError) -> None:
    """Sends a refusal as JSON."""
    content = json.dumps({"problem": refusal.problem, **refusal.details}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if refusal.status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    if refusal.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": [*headers, *_HEADERS]})
    await send({"type": "http.response.body", "body": content})


async def _close(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})


def _too_large(most: int, received: str) -> RefusedError:
    return RefusedError(
        "The request is too large.", status=413, expected=f"at most {most:,} bytes", received=received,
        fix="send a smaller file; an array as an NPY file, which takes more than JSON does",
    )  # fmt: skip


def _too_slow(limits: Limits) -> RefusedError:
    return RefusedError(
        "The request came too slowly.", status=408, expected=f"all of it within {limits.body_seconds:g} s"
    )
