"""Puts a request to the worker and prints what came of it. Loads nothing heavy: the ``sqlite3`` module."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobfetcher import doorbell
from jobfetcher.cli import look, moments, operate
from jobfetcher.lock import Holder, holder
from persistence.reader import open_reader
from persistence.requests import Answer, Operator

LOOK_SECONDS = 0.1
SLOW_SECONDS = 0.5
DAY = 86400.0
NO_WORKER = "No worker runs here. The request is kept, and done when it starts."
NOT_YET = "The worker has the request; it is not done yet."


@dataclass(frozen=True)
class Asked:
    """A request on its way."""

    number: int
    file: Path
    base: Path


def of_job(path_base: Path | None, job_id: str, kind: str, live_only: bool, **arguments: object) -> Asked:
    """Ask something about the newest job with that id. Raises ``look.Unanswerable`` if it makes no sense."""
    with look.database(path_base) as reader:
        job = look.one(reader, job_id)
    if live_only and job.state in look.TERMINAL:
        raise look.Unanswerable(f"Job {job.api_id} has ended already: {job.state}.")
    return _ask(path_base, job.worker, kind, job.key, **arguments)


def of_worker(path_base: Path | None, kind: str, **arguments: object) -> Asked:
    """Ask something of the worker. Raises ``look.Unanswerable`` if none was ever here."""
    look.database(path_base).close()  # says what is wrong with it
    base = operate.base(path_base)
    try:
        worker = (base / "worker-id").read_text().strip()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise look.Unanswerable(
            f"{base / 'worker-id'} cannot be read ({why}); set PATH_BASE to the worker's folder."
        ) from None
    return _ask(path_base, worker, kind, None, **arguments)


def _ask(path_base: Path | None, worker: str, kind: str, key: int | None, **arguments: object) -> Asked:
    file, base = look.database_file(path_base), operate.base(path_base)
    with Operator(file) as operator:
        asked = Asked(operator.ask(worker, kind, key, **arguments), file, base)
    doorbell.ring(base)
    return asked


def settle(asked: Asked, seconds: float, json_wanted: bool, until_ended: bool = False) -> int:
    """Wait for the answer at most so long, and print it. Returns the exit code: 1 if it was refused.

    ``until_ended``: wait, without a limit, until the worker has ended too.
    """
    with suppress(KeyboardInterrupt):
        answer, worker = _wait(asked, math.inf if until_ended else seconds)
        if not until_ended:
            return _print(asked, answer, json_wanted)
        if not json_wanted:
            print(NO_WORKER if answer is None else answer.text, flush=True)
        return _ended(asked, worker, json_wanted)
    return 130


def history(text: str) -> float:
    """Seconds of ``30d``. Raises ``look.Unanswerable``."""
    now = time.time()
    seconds = now - moments.ago(text, now)
    if seconds < DAY:
        raise look.Unanswerable("--history needs at least 1d: the API may deliver a job of today again.", 2)
    return seconds


def _wait(asked: Asked, seconds: float) -> tuple[Answer | None, Holder | None]:
    """The answer, if there is one in time, and the worker that ran just before."""
    deadline = time.monotonic() + seconds
    with Operator(asked.file) as operator:
        while True:
            worker = holder(asked.base)
            answer = operator.answer_to(asked.number)
            if answer is not None or worker is None or time.monotonic() >= deadline:
                return answer, worker
            time.sleep(LOOK_SECONDS)


def _ended(asked: Asked, worker: Holder | None, json_wanted: bool) -> int:
    while worker is not None and holder(asked.base) == worker:
        time.sleep(SLOW_SECONDS)
    with open_reader(asked.file) as reader:
        live = sum(count for state, count in reader.counts().items() if state not in look.TERMINAL)
        unheard = len(reader.unsent())
    ok = not (live or unheard)
    if json_wanted:
        look.as_json({"request": asked.number, "ended": True, "jobs": live, "unsent": unheard})
    elif ok:
        print("No worker runs, and nothing is left to do.")
    else:
        print(
            f"No worker runs, but there is something left to do: {live} jobs have not ended, and the API has "
            f"yet to hear {unheard} updates. Start it again; it goes on with them, and takes no new ones."
        )
    return 0 if ok else 1


def _print(asked: Asked, answer: Answer | None, json_wanted: bool) -> int:
    running = holder(asked.base)
    if json_wanted:
        look.as_json(
            {
                "request": asked.number,
                "done": answer is not None,
                "refused": answer is not None and answer.refused,
                "answer": answer.text if answer else None,
                "worker": running.pid if running else None,
                **(answer.found if answer else {}),
            }
        )
    elif answer is not None and answer.refused:
        raise look.Unanswerable(answer.text)
    elif answer is not None:
        print(answer.text)
    elif running is None:
        print(NO_WORKER)
    else:
        print(NOT_YET)
    return 1 if answer is not None and answer.refused else 0
