"""``jobfetcher logs``: what a job's container or process has written, as long as it is on this machine.

It is read from the engine while that has the container, and from the copy beside the job's folder afterwards.
"""

import codecs
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from jobfetcher.cli import look, operate
from jobfetcher.environment import value_of
from persistence.reader import JobRow, Reader

CHUNK = 64 * 1024
LOOK_SECONDS = 0.2
LOG = "container.log"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\))")
"""What moves a cursor, colours, or (to BEL or ESC-backslash) names a window."""


class Gone(Exception):
    """The container is not on this machine any more."""


def print_log(job_id: str, follow: bool, json_wanted: bool, path_base: Path | None) -> None:
    """Print the log of the job's current run. Raises ``look.Unanswerable`` where there is none."""
    with look.database(path_base) as reader:
        job = look.one(reader, job_id)
        try:
            with suppress(KeyboardInterrupt):
                while follow and job.facts.get("run") is None and job.state not in look.TERMINAL:
                    time.sleep(LOOK_SECONDS)
                    job = look.one(reader, job_id)
                _write(_pieces(job, operate.base(path_base), follow), json_wanted)
        except Gone:
            raise look.Unanswerable(_where(job, reader)) from None


def _pieces(job: JobRow, base: Path, follow: bool) -> Iterator[bytes]:
    if (run := job.facts.get("run")) is None:
        raise look.Unanswerable(_none_yet(job))
    if job.swept_at is not None:
        raise Gone
    return _or_else(_from_run(job, base, run, follow), kept_copy(base, job))


def _or_else(pieces: Iterator[bytes], copy: Path) -> Iterator[bytes]:
    begun = False
    try:
        for piece in pieces:
            begun = True
            yield piece
    except (Gone, look.Unanswerable):
        if begun or not copy.is_file():
            raise
        with copy.open("rb", buffering=0) as file:
            while piece := file.read(CHUNK):
                yield piece


def kept_copy(base: Path, job: JobRow) -> Path:
    """Where the log of the job's last run lies once it was read for the upload."""
    slug: str = job.facts["run"]["name"].removeprefix(f"jobfetcher-{job.worker}-").removesuffix(f"-{job.run}")
    return base / "jobs" / slug / f"{job.run}.log"


def _from_run(job: JobRow, base: Path, run: dict[str, str], follow: bool) -> Iterator[bytes]:
    if str(job.facts.get("image_id")).startswith("process:"):
        return of_process(base / "runs" / run["name"], follow)
    return of_container(run["id"], follow)


def of_process(place: Path, follow: bool, sleep: Callable[[float], object] = time.sleep) -> Iterator[bytes]:
    """What the process runner keeps in the run's folder. Raises ``Gone``."""
    try:
        with (place / "output.log").open("rb", buffering=0) as output:
            while True:
                # Asked before reading: what was written until the end is then read for sure.
                ended = not follow or (place / "exit.json").exists() or not place.exists()
                while piece := output.read(CHUNK):
                    yield piece
                if ended:
                    return
                sleep(LOOK_SECONDS)
    except FileNotFoundError as error:
        raise Gone from error


def of_container(container: str, follow: bool) -> Iterator[bytes]:
    """What the engine keeps. Raises ``Gone``, and ``look.Unanswerable`` if no engine answers."""
    from jobfetcher.runners.docker import DockerEngine
    from jobfetcher.runners.engine import NotThere, Refused, StreamBroken
    from jobfetcher.runners.exits import ever_started
    from jobfetcher.runners.multiplexed import payloads
    from states.errors import Paused

    engine = DockerEngine(value_of("DOCKER_HOST"))
    try:
        # The engine follows no container that is only created.
        while follow and (found := engine.inspect(container)) is not None and not ever_started(found):
            time.sleep(LOOK_SECONDS)
        with engine.output(container, follow) as output:
            yield from payloads(output.chunks())
    except NotThere as error:
        raise Gone from error
    except (Paused, Refused, StreamBroken) as error:
        raise look.Unanswerable(f"The log cannot be read. {error}") from None


def _write(pieces: Iterator[bytes], json_wanted: bool) -> None:
    if json_wanted:
        for line in _lines(pieces):
            print(json.dumps({"line": line.decode("utf-8", "replace")}, ensure_ascii=False), flush=True)
        return
    for piece in shown(pieces) if sys.stdout.isatty() else pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def shown(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The log for a terminal, which would obey a job's escape sequences: they are left out, colours too."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield look.harmless(_SEQUENCE.sub("", decoder.decode(piece)), keep="\n\t\r").encode()


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _none_yet(job: JobRow) -> str:
    if job.state in look.TERMINAL:
        return f"Job {job.api_id} has no container. 'jobfetcher show {job.api_id}' has what is known."
    return f"Job {job.api_id} has no container yet: it is {job.state}."


def _where(job: JobRow, reader: Reader) -> str:
    """Where the log is, if it is not here."""
    gone = f"The container of job {job.api_id} is gone"
    uploaded = [f.path for f in reader.files(job.key) if (f.direction, f.kind) == ("up", "log")]
    log = [path for path in uploaded if Path(path).name.startswith(Path(LOG).stem)]
    if log:
        return f"{gone}; its log was uploaded with the results, as {log[0]}."
    return f"{gone}, and its log was not uploaded. 'jobfetcher show {job.api_id}' has what is known."
