"""JSON over HTTP with bounds on time, tries and size, by the standard library alone."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from holdfast.core.errors import InputError, TargetError

BUSY = (429, 502, 503, 504)
"""HTTP statuses that a second try may cure."""


@dataclass(frozen=True)
class Limits:
    """How long and how often an endpoint is asked.

    Attributes:
        timeout: seconds for one answer.
        attempts: tries in all when the connection fails or the endpoint is busy.
        backoff: seconds before the second try, doubled before each further one.
        size: most bytes of one answer.
    """

    timeout: float = 30.0
    attempts: int = 3
    backoff: float = 0.2
    size: int = 2**26


class Refused(TargetError):
    """The endpoint answered, but with a refusal or with no JSON."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead inputs anywhere, so it is an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(url: str, limits: Limits, body: object = None) -> Any:
    """GET, or POST `body`, and parse the JSON answer; Any, as it may be any JSON.

    Raises:
        TargetError: no connection after all attempts, an HTTP error, or an answer that is too
            large, too slow or no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310  # scheme checked before
    why = "nothing"
    for attempt in range(limits.attempts):
        if attempt:
            time.sleep(limits.backoff * 2 ** (attempt - 1))
        try:
            return _parse(_read(request, limits))
        except urllib.error.HTTPError as error:
            with error:
                why = f"HTTP status {error.code} {short(error.read(300).decode(errors='replace'))}"
            if error.code not in BUSY:
                raise Refused(
                    f"{url} refused the request", got=why, fix="check address and inputs"
                ) from error
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
    raise TargetError(
        f"{url} could not be reached in {limits.attempts} attempts",
        got=why,
        fix="check that the server runs",
    )


def _read(request: urllib.request.Request, limits: Limits) -> bytes:
    """The body of the answer, within the limits of size and time."""
    handlers: list[Any] = [_NoRedirect()]
    if urlsplit(request.full_url).hostname in ("127.0.0.1", "localhost", "::1"):
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy leads back to this machine
    end = time.monotonic() + limits.timeout
    parts: list[bytes] = []
    size = 0
    opener = urllib.request.build_opener(*handlers)
    with opener.open(request, timeout=limits.timeout) as response:
        while part := response.read1(2**16):
            parts.append(part)
            size += len(part)
            if size > limits.size:
                raise bad("an answer must be small", f"more than {limits.size} bytes")
            if time.monotonic() > end:  # a server that drips would never reach the socket timeout
                raise TimeoutError(f"no complete answer in {limits.timeout:g} s")
        if response.length:  # read1 does not say that bytes are missing
            raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "the endpoint must answer in JSON",
            got=short(content[:200].decode(errors="replace")),
            fix="give the address of the model itself",
        ) from error


def check_url(url: str) -> None:
    """Refuse what is not an http or https address, and addresses with passwords in them."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError("this is no address", got=url, fix="give http://host:port/path") from error
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise InputError("models are reached over http or https", got=url, fix="give such a URL")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "an address is kept in every record and must hold no password",
            got=f"a user name before {host}",
            fix="leave it out",
        )


def bad(what: str, got: object) -> TargetError:
    """An answer that no classifier may give."""
    return TargetError(what, got=got, fix="mend the server, or give the address of a classifier")


def short(thing: object) -> str:
    """As text of one line and 120 characters at most."""
    text = " ".join(str(thing).split())
    return text if len(text) <= 120 else text[:117] + "..."
