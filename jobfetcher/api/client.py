"""The API's calls: one call is one request with one typed answer. No policy, no waiting for better times.

The one exception is the login: a refused token is renewed once, and the request repeated.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from pydantic import ValidationError

from jobfetcher.api.auth import Auth
from jobfetcher.api.errors import NotJson, WrongShape, for_status
from jobfetcher.api.wire import Answer, OnAnswer, Timeout, Wire
from states.job import ApiStatus
from states.ports import FileRequest, Resources
from states.spec import FileType, JobSpec

MAX_URL = 8000
"""Longest encoded URL of a status update, in bytes."""
CLOCK_PAUSE = 1.5
"""Seconds until a token that was issued "in the future" is sent again."""
LONGEST_WAIT = 600.0
"""Seconds that an answer may ask to wait, at most: a slip in it must not silence the worker for years."""
_PORTS = {"http": 80, "https": 443}


class ApiClient:
    """Talks to the API at ``url``, which may have a path. Safe from any thread.

    ``timeout`` is in seconds, for the connection and for each read; ``on_answer`` hears, from any thread, of
    each request: its method, its URL, and the status that was answered (None: there was no answer). Every
    call raises the errors of ``jobfetcher.api.errors``.
    """

    def __init__(
        self,
        url: str,
        auth: Auth,
        timeout: Timeout = (10.0, 30.0),
        on_answer: OnAnswer = lambda _method, _url, _status: None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if urlsplit(url).scheme not in _PORTS or not urlsplit(url).hostname:
            raise ValueError(f"API_URL must begin with http:// or https://, not {url!r}.")
        self._url = url.rstrip("/")
        self._origin = origin(self._url)
        self._auth = auth
        self._sleep = sleep
        self._wire = Wire(timeout, on_answer, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client can still be used."""
        self._wire.close()

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        """Take up to ``limit`` jobs out of the queue. What cannot be read is a spec with a ``problem``.

        Raises ``WrongShape`` also where nothing of the answer is an object, as every job is: then it is
        something else that speaks, and no job was taken.
        """
        asked = resources.model_dump(exclude_none=True) | {"limit": limit}
        query = urlencode({name: value for name, value in asked.items() if value != ()}, doseq=True)
        answer = self._call("GET", "/jobs", query)
        jobs = _json(answer)
        if not isinstance(jobs, dict) or (jobs and not any(isinstance(raw, dict) for raw in jobs.values())):
            raise WrongShape(answer.call, answer.status, answer.text)
        return [JobSpec.parse(job_id, raw) for job_id, raw in jobs.items()]

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        """Tell the API a status. A long ``detail`` keeps its first line and its end."""
        path = f"/jobs/{quote(job_id, safe='')}/status"
        query = f"status={status.value}"
        room = MAX_URL - len(f"{self._url}{path}?{query}&runtime_details=")
        details = quote(fitting(detail, room), safe="")
        answer = self._call("PUT", path, f"{query}&runtime_details={details}" if details else query)
        if answer.status != 204:
            _json(answer)  # a sign-in page of the network answers 200 to anything

    def job_status(self, job_id: str) -> str:
        """The status as the API has it; it may be one that this version does not know."""
        answer = self._call("GET", f"/jobs/{quote(job_id, safe='')}/status", again=True)
        status = _json(answer)
        if not isinstance(status, str):
            raise WrongShape(answer.call, answer.status, answer.text)
        return status

    def download_request(self, file_id: str) -> FileRequest:
        """The request that downloads the file; with our login if it goes to the API itself."""
        quoted = quote(file_id, safe="/", errors="replace")
        request = self._file_request(self._call("GET", f"/files/{quoted}/url", again=True))
        plain = f"/files/{file_id}/download"  # the service's local disk answers with the decoded path
        if not request.url.endswith(plain):
            return request
        url = f"{request.url.removesuffix(plain)}/files/{quoted}/download"
        return request.model_copy(update={"url": url})

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        """The request that uploads files of that type into the folder ``base_path``."""
        query = urlencode({"type": kind.value, "base_path": base_path}, quote_via=quote)
        path = f"/jobs/{quote(job_id, safe='')}/files/url"
        return self._file_request(self._call("POST", path, query, again=True))

    def _file_request(self, answer: Answer) -> FileRequest:
        try:
            raw = _json(answer)
            flat = {"headers": _flat(raw.get("headers")), "data": raw.get("data") or {}}
            request = FileRequest.model_validate({**raw, **flat})
        except (ValidationError, TypeError, AttributeError) as error:
            raise WrongShape(answer.call, answer.status) from error
        named = {name.lower() for name in request.headers}
        if not self._is_ours(request.url) or "authorization" in named:
            return request
        login = {"Authorization": f"Bearer {self._auth.token()}"}
        return request.model_copy(update={"headers": {**request.headers, **login}})

    def _is_ours(self, url: str) -> bool:
        """One of the API's own file routes; a storage may well stand beside it on the same host."""
        if url.startswith((f"{self._url}/files/", f"{self._url}/jobs/")):
            return True
        path = urlsplit(url).path
        base = urlsplit(self._url).path
        return origin(url) == self._origin and path.startswith((f"{base}/files/", f"{base}/jobs/"))

    def _call(self, method: str, path: str, query: str = "", *, again: bool = False) -> Answer:
        url = f"{self._url}{path}?{query}" if query else f"{self._url}{path}"
        answer = self._logged_in(method, url, f"{method} {path}", again)
        if answer.status not in (200, 201, 204):
            raise for_status(answer.call, answer.status, answer.text, retry_after(answer.headers))
        return answer

    def _logged_in(self, method: str, url: str, call: str, again: bool) -> Answer:
        token = self._auth.token()
        remedies = {"pause", "renew"}
        while True:
            answer = self._wire.send(method, url, call, token, again=again)
            if answer.status != 401:
                return answer
            if "pause" in remedies and _issued_ahead(token, answer):
                remedies.remove("pause")
                self._sleep(CLOCK_PAUSE)
            elif "renew" in remedies and (newer := self._auth.renew(after=token)) != token:
                remedies.remove("renew")
                token = newer
            else:
                return answer


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what must be equal for our login to be sent along."""
    parts = urlsplit(url)
    return (
        parts.scheme.lower(),
        (parts.hostname or "").lower(),
        parts.port or _PORTS.get(parts.scheme.lower()),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks to wait, at most ``LONGEST_WAIT``; names of headers are in lower case.

    A date is read by the answer's own clock, not ours.
    """
    wanted = headers.get("retry-after", "").strip()
    if wanted.isascii() and wanted.isdigit():
        return min(float(wanted), LONGEST_WAIT)
    until, now = _seconds(wanted), _seconds(headers.get("date", ""))
    return None if until is None or now is None else min(max(0.0, until - now), LONGEST_WAIT)


def fitting(text: str, room: int) -> str:
    """``text`` without NUL, at most ``room`` bytes when percent-encoded: its first line and its end."""
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    if len(quote(text, safe="")) <= room:
        return text
    first = _start(text.split("\n", 1)[0], room // 4)
    gap = "\n…\n"
    return first + gap + _start(text[::-1], room - len(quote(first + gap, safe="")))[::-1]


def _start(text: str, room: int) -> str:
    used = 0
    for place, character in enumerate(text):
        used += len(quote(character, safe=""))
        if used > room:
            return text[:place]
    return text


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError as error:
        raise NotJson(answer.call, answer.status, answer.text) from error
    except RecursionError as error:
        raise WrongShape(answer.call, answer.status, answer.text) from error


def _flat(headers: Any) -> dict[str, str]:
    """The API's document allows a header's value to be a group of headers."""
    flat: dict[str, str] = {}
    for name, value in (headers or {}).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _issued_ahead(token: str, answer: Answer) -> bool:
    """The token's ``iat`` is not yet past by the clock of the server that refused it."""
    server = _seconds(answer.headers.get("date", ""))
    issued = _issued_at(token)
    return server is not None and issued is not None and issued >= server


def _issued_at(token: str) -> float | None:
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["iat"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _seconds(date: str) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None
