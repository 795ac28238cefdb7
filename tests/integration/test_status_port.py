"""The port by which a worker is watched: what it shows, to whom, and what it refuses."""

import gzip
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobfetcher.runners.engine import NotThere, Stream
from jobfetcher.status import server
from states.job import Exit, JobState, Run, Trigger
from states.spec import JobSpec
from tests.status_scene import SECRET, Scene, scene
from tests.store_life import brought_to, moved, spec
from tests.worker_process import until

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as opened:
        yield opened


class Reply:
    """What came back."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.code = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(opened: Scene, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
    """One request, as it is written: nothing is tidied up."""
    address = opened.server.server_address
    connection = http.client.HTTPConnection(str(address[0]), int(address[1]), timeout=30)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def metrics(opened: Scene) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus would read it."""
    found = {}
    for family in text_string_to_metric_families(ask(opened, "/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_health_has_two_forms(port: Scene) -> None:
    """Text for people and JSON for programs, 200 as long as all is well."""
    text, data = ask(port, "/healthz"), ask(port, "/healthz", Accept="application/json")

    assert (200, "ok\n") == (text.code, text.text)
    assert (200, {"ok": True, "problems": []}) == (data.code, data.json)


def test_a_thread_that_stands_still_is_a_503(port: Scene) -> None:
    """With a sentence for it, in both forms."""
    port.live.changes["threads"] = {"reporter": time.time() - 5000}
    text, data = ask(port, "/healthz"), ask(port, "/healthz", Accept="application/json")

    assert (503, 503) == (text.code, data.code)
    assert text.text.startswith("The worker's thread 'reporter' has stood still for 5000 s")
    assert data.json["problems"] == text.text.splitlines()


def test_a_worker_that_cannot_work_is_alive_but_not_ready(port: Scene) -> None:
    """The engine is away: /readyz says so, /healthz stays well, so that nobody restarts it for that."""
    port.live.changes["engine"] = {"ok": False, "at": time.time(), "error": "It is away."}

    assert ask(port, "/healthz").code == 200
    assert (503, "The Docker engine does not answer (It is away); see whether it runs.\n") == (
        (reply := ask(port, "/readyz")).code,
        reply.text,
    )


def test_metrics_tell_what_happened(port: Scene) -> None:
    """Jobs by state, unsent updates, phases, losses, requests, bytes, places: as the database has them."""
    store = port.store
    for number in (1, 2):
        brought_to(store, store.add(spec(number)), JobState.FINISHED)
    lost = brought_to(store, store.add(spec(3)), JobState.RUNNING)
    moved(store, lost, Trigger.LOST)
    port.traffic.note("fetch_jobs", "ok")
    port.moved["download"] = 4096
    port.live.changes |= {"draining": True, "places": 3, "jobs": {"3": {}}}
    seen = metrics(port)

    assert 2 == seen["jobfetcher_jobs{state=finished}"]
    assert 1 == seen["jobfetcher_jobs{state=downloading}"]
    assert 0 == seen["jobfetcher_jobs{state=error}"]
    assert 10 == seen["jobfetcher_unsent_updates"]
    assert 0 <= seen["jobfetcher_oldest_unsent_update_age_seconds"] < 100
    assert (1, 1) == (seen["jobfetcher_runs_lost_total"], seen["jobfetcher_reruns_total"])
    assert 3 == seen["jobfetcher_phase_duration_seconds_count{state=running}"]
    assert 3 == seen["jobfetcher_phase_duration_seconds_bucket{le=+Inf,state=downloading}"]
    assert 1 == seen["jobfetcher_api_requests_total{call=fetch_jobs,outcome=ok}"]
    assert 4096 == seen["jobfetcher_transferred_bytes_total{phase=download}"]
    assert (1, 3, 1) == tuple(seen[f"jobfetcher_{name}"] for name in ("draining", "places", "places_used"))
    assert 1 == seen["jobfetcher_build_info{runner=docker,version=1.0,worker=1f2e3d4c}"]
    assert (1, 0) == (seen["jobfetcher_healthy"], seen["jobfetcher_ready"])
    assert seen["jobfetcher_disk_free_bytes"] > 0
    assert seen["jobfetcher_engine_last_answer_age_seconds"] < 60


def test_metrics_count_each_move_once(port: Scene) -> None:
    """However often they are asked for; and what came in between is added."""
    job = brought_to(port.store, port.store.add(spec(1)), JobState.RUNNING)
    name = "jobfetcher_phase_duration_seconds_count{state=%s}"
    first, again = metrics(port), metrics(port)
    moved(port.store, job, Trigger.EXITED, exit=Exit(code=0))
    later = metrics(port)

    assert (1, 1, 1) == tuple(seen[name % "downloading"] for seen in (first, again, later))
    assert (0, 1) == (first[name % "running"], later[name % "running"])


def test_metrics_have_the_usual_names(port: Scene) -> None:
    """Counters end in _total, times in _seconds, sizes in _bytes, and each has its explanation."""
    families = list(text_string_to_metric_families(ask(port, "/metrics").text))
    ours = [family for family in families if family.name.startswith("jobfetcher_")]

    assert len(ours) > 15
    for family in ours:
        assert family.documentation
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)


def failed_job(port: Scene, detail: str = HOSTILE) -> JobSpec:
    """A job from somebody who means no good, and who has put secrets where one may."""
    raw = {
        "app": {"cmd": ["echo", HOSTILE], "env": {"DB_PASSWORD": "hunter2"}},
        "handler": {
            "image_url": HOSTILE,
            "files_down": {"a": "https://s3.example.org/a?X-Amz-Signature=abc"},
        },
        "meta": {"job_id": 1, "date_created": "today"},
        "hardware": {},
    }
    job = brought_to(port.store, port.store.add(JobSpec.parse("7/<b>", raw)), JobState.RUNNING)
    moved(port.store, job, Trigger.FAILED, detail=detail, run=Run(name="run-1", id="c1"))
    return job.spec


def test_the_status_lists_the_jobs_with_their_moves(port: Scene) -> None:
    """The worker's own view, and each job with its timeline, newest first."""
    failed_job(port, "No.")
    port.store.add(spec(8))
    status = ask(port, "/api/status").json

    assert ("1f2e3d4c", 2) == (status["worker"], status["places"])
    assert {"error": 1, "fetched": 1} == status["counts"]
    assert ["8", "7/<b>"] == [job["id"] for job in status["recent"]]
    assert ["fetched", "downloading", "running", "error"] == [
        stay["state"] for stay in status["recent"][1]["moves"]
    ]
    assert (True, True) == (status["health"]["ok"], status["ready"]["ok"])


def test_a_job_is_told_whole(port: Scene) -> None:
    """All that ``show --json`` prints, also of an id that needs quoting; ``key`` chooses between leases."""
    failed_job(port)
    known = ask(port, "/api/jobs/7%2F%3Cb%3E").json

    assert {"spec", "moves", "outbox", "files", "exit", "container", "lease", "detail"} <= set(known)
    assert (200, 404) == tuple(
        ask(port, f"/api/jobs/7%2F%3Cb%3E?key={key}").code for key in (known["key"], known["key"] + 1)
    )


@pytest.mark.parametrize("path", ["/api/jobs/99", "/api/jobs/", "/nothing", "/../etc/passwd", "/index.html"])
def test_what_is_not_there_is_a_404(port: Scene, path: str) -> None:
    """In a sentence."""
    reply = ask(port, path)

    assert 404 == reply.code
    assert reply.text.startswith("There is no ")


def test_no_secret_is_shown(port: Scene) -> None:
    """Neither our own, nor a job's environment, nor what signs a URL: search everything there is."""
    failed_job(port, f"Tried https://s3.example.org/a?X-Amz-Signature=abc with {SECRET}.")
    port.live.changes["api"] = {
        "url": "https://api.example.org",
        "ok": False,
        "at": 1.0,
        "error": f"{SECRET}!",
    }
    paths = ("/api/status", "/api/jobs/7%2F%3Cb%3E", "/api/jobs/7%2F%3Cb%3E/log", "/metrics", "/readyz", "/")
    shown = "".join(ask(port, path).text for path in paths)

    assert "https://s3.example.org/a?***" in shown
    for secret in (SECRET, "hunter2", "X-Amz-Signature"):
        assert secret not in shown


def test_the_page_needs_nothing_from_elsewhere(port: Scene) -> None:
    """Every file it names is served by this port, with the right type, and no other address stands in it."""
    page = ask(port, "/")
    names = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
    scripts = {name for name in names if name.endswith(".js")}
    while (
        more := {
            f"/{name}"
            for script in scripts
            for name in re.findall(r'from "\./([^"]+)"', ask(port, script).text)
        }
        - scripts
    ):
        scripts |= more
    replies = {name: ask(port, name) for name in names | scripts}

    assert {200} == {reply.code for reply in replies.values()}
    assert {"text/javascript; charset=utf-8"} == {replies[name].headers["content-type"] for name in scripts}
    for reply in (page, *replies.values()):
        addresses = set(re.findall(r"https?://[^\s\"'<>]+", reply.text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set()


def test_the_page_carries_the_machine(port: Scene) -> None:
    """Drawn on the server, from the table of states; no script or style stands in the page itself."""
    page = ask(port, "/").text

    assert 2 == page.count('data-state="downloading"')
    assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)|\son\w+=", page)


def test_a_browser_is_told_to_be_strict(port: Scene) -> None:
    """On every answer, refusals too."""
    for reply in (ask(port, "/"), ask(port, "/api/status"), ask(port, "/nothing"), ask(port, "/", "POST")):
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert ("nosniff", "no-store") == (
            reply.headers["x-content-type-options"],
            reply.headers["cache-control"],
        )


@pytest.mark.parametrize("host", ["evil.example.org", "192.0.2.1:80", "localhost.evil.example.org", ""])
@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", "/healthz"])
def test_another_name_for_this_machine_is_refused(port: Scene, host: str, path: str) -> None:
    """DNS rebinding: a page of another site cannot look in through a name that it made to mean loopback."""
    reply = ask(port, path, Host=host)

    assert 403 == reply.code
    assert "1f2e3d4c" not in reply.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
def test_nothing_but_get_is_answered(port: Scene, method: str) -> None:
    """A body is thrown away; the answer says what to use."""
    reply = ask(port, "/api/status", method, b"x" * 10_000)

    assert (405, "GET") == (reply.code, reply.headers["allow"])


def test_a_long_answer_is_packed_where_that_is_understood(port: Scene) -> None:
    """gzip for a browser on a slow line, plain for everybody else."""
    packed, plain = ask(port, "/", Accept_Encoding="gzip"), ask(port, "/")

    assert ("gzip", None) == (packed.headers.get("content-encoding"), plain.headers.get("content-encoding"))
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3


def speak(port: Scene, *pieces: bytes) -> bytes:
    """What comes back for bytes as they are; the line is given up by the other side."""
    address = port.server.server_address
    with socket.create_connection((str(address[0]), int(address[1])), timeout=60) as line:
        for piece in pieces:
            line.sendall(piece)
        return b"".join(iter(lambda: line.recv(65536), b""))


def test_nonsense_is_answered_in_a_sentence(port: Scene) -> None:
    """No traceback, no HTML; and the port goes on."""
    said = speak(port, b"\x16\x03\x01 hello\r\n\r\n")

    assert said.endswith(b"This is no request that can be read.\n")
    assert 200 == ask(port, "/healthz").code


def test_a_caller_who_says_nothing_is_hung_up_on(port: Scene) -> None:
    """The place is free again after some seconds."""
    assert b"" == speak(port, b"GET / HT")


def test_a_caller_who_drips_is_hung_up_on() -> None:
    """A byte now and then keeps nobody waiting for ever: the whole request has its time."""
    with server.StatusServer("127.0.0.1", 0, tick=0.02, patience=0.5) as opened:
        opened.start(server.nothing_yet)
        with socket.create_connection(("127.0.0.1", opened.server_address[1]), timeout=30) as line:
            line.sendall(b"GET / HTTP/1.0\r\n")

            def cut_off() -> bool:
                try:
                    line.sendall(b"x")
                except OSError:
                    return True
                return False

            until("the end of patience", cut_off)


def test_too_many_callers_do_not_pile_up(port: Scene) -> None:
    """With all lines taken one more is closed at once; when they end, all is as before."""
    address = (str(port.server.server_address[0]), int(port.server.server_address[1]))
    taken = [socket.create_connection(address, timeout=30) for _ in range(server.CONNECTIONS)]
    try:
        for line in taken:
            line.sendall(b"GET /")
        until("all lines taken", lambda: len(port.server._open) == server.CONNECTIONS)
        assert b"" == speak(port)
    finally:
        for line in taken:
            line.close()
    until("a free line", lambda: not port.server._open)

    assert 200 == ask(port, "/healthz").code


def test_a_database_that_cannot_be_read_is_said(port: Scene) -> None:
    """The page still shows the worker; metrics and jobs answer 503 with the sentence."""
    port.store.path.write_bytes(b"nonsense" * 1000)
    status = ask(port, "/api/status").json

    assert "1f2e3d4c" == status["worker"]
    assert "not a SQLite database" in status["database"]
    assert (503, 503) == (ask(port, "/metrics").code, ask(port, "/api/jobs/7").code)
    assert 200 == ask(port, "/healthz").code


class Tailed:
    """An engine that knows one container."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = frames

    @contextmanager
    def tail(self, container: str, lines: int) -> Iterator[Stream]:
        if container != "c1":
            raise NotThere("No such container.", 404)
        yield self

    def chunks(self) -> Iterator[bytes]:
        for text in self._frames:
            yield b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text

    def shutdown(self) -> None:
        return None


def test_the_last_lines_of_a_container(tmp_path: Path) -> None:
    """The end of what it wrote, at most 40 lines; secrets in URLs masked like everywhere."""
    lines = [f"line {number}\n".encode() for number in range(100)]
    with scene(
        tmp_path, engine=Tailed(*lines, b"got https://s3.example.org/a?X-Amz-Signature=abc\n")
    ) as port:
        failed_job(port)
        said = ask(port, "/api/jobs/7%2F%3Cb%3E/log").text.splitlines()

    assert ("line 61", "line 99") == (said[0], said[-2])
    assert "got https://s3.example.org/a?***" == said[-1]


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """A log that is one line of many megabytes costs no memory and no time."""
    with scene(tmp_path, engine=Tailed(*[b"x" * 65536] * 100)) as port:
        failed_job(port)

        assert 16 * 1024 == len(ask(port, "/api/jobs/7%2F%3Cb%3E/log").body)


def test_the_last_lines_of_a_process(port: Scene) -> None:
    """The process runner keeps them in a file; none if it is gone."""
    failed_job(port)
    assert b"" == ask(port, "/api/jobs/7%2F%3Cb%3E/log").body
    (port.folder / "runs" / "run-1").mkdir(parents=True)
    (port.folder / "runs" / "run-1" / "output.log").write_text("one\ntwo\n")

    assert "one\ntwo" == ask(port, "/api/jobs/7%2F%3Cb%3E/log").text
