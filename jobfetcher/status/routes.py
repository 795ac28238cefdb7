"""Which path shows what."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import unquote

from jobfetcher.status import drawing, views
from jobfetcher.status.health import Verdict, ready, works
from jobfetcher.status.joblog import Log
from jobfetcher.status.metrics import KIND, Exposition
from jobfetcher.status.server import Answer, Question, sentence
from persistence.errors import StoreUnavailable, StoreUnusable

JSON = "application/json"
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
NO_PAGE = sentence(404, "There is no such page. / is the status page; see also /metrics and /healthz.")


class Routes:
    """Answers questions about ``worker``."""

    def __init__(self, worker: views.Worker, exposition: Exposition, log: Log) -> None:
        self._worker = worker
        self._exposition = exposition
        self._log = log
        self._page = page_files()
        self._exact: dict[str, Callable[[Question], Answer]] = {
            "/metrics": lambda question: Answer(self._exposition.text(), KIND),
            "/healthz": lambda question: _verdict(self._works(), question),
            "/readyz": lambda question: _verdict(self._ready(), question),
            "/api/status": lambda question: _json(views.status(self._worker)),
        }

    def __call__(self, question: Question) -> Answer:
        try:
            if made := self._exact.get(question.path):
                return made(question)
            if question.path.startswith("/api/jobs/"):
                return self._job(question)
        except (StoreUnavailable, StoreUnusable) as error:
            return sentence(503, str(error))
        return self._page.get(question.path, NO_PAGE)

    def _works(self) -> Verdict:
        return works(views.live(self._worker), self._worker.disk())

    def _ready(self) -> Verdict:
        return ready(views.live(self._worker), self._worker.disk())

    def _job(self, question: Question) -> Answer:
        job_id, _, rest = question.path.removeprefix("/api/jobs/").partition("/")
        key = question.query.get("key", "")
        job = views.job(self._worker, unquote(job_id), int(key) if key.isdecimal() else None)
        if job is None or rest not in ("", "log"):
            return sentence(404, f"There is no job {unquote(job_id)!r} in this worker's database.")
        return Answer(views.masked(self._worker, self._log.tail(job))) if rest else _json(job)


def page_files() -> dict[str, Answer]:
    """The page and what belongs to it, by path; the drawing of the machine put in."""
    found = {}
    for file in resources.files("jobfetcher.status").joinpath("page").iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is None:
            continue
        text = file.read_text(encoding="utf-8")
        path = "/" if file.name == "index.html" else f"/{file.name}"
        found[path] = Answer(text.replace("<!-- machine -->", drawing.both()).encode(), kind)
    return found


def _verdict(verdict: Verdict, question: Question) -> Answer:
    code = 200 if verdict.ok else 503
    if JSON in question.accept:
        return _json(verdict.as_dict(), code)
    return Answer(verdict.text.encode(), code=code)


def _json(value: Any, code: int = 200) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), JSON, code)
