"""The mock's scripted faults over a socket: each does what it says, and says that it did."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from mock_api.client import TOKEN, ControlRefused, MockControl, MockServer
from mock_api.faults import FaultKind

BEARER = {"Authorization": f"Bearer {TOKEN}"}
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(tmp_path_factory.mktemp("mock"), "--idle-seconds", "60") as server:
        server.control.put_file("/f", CONTENT)
        yield server


@pytest.fixture
def control(server: MockServer) -> MockControl:
    server.control.reset()
    return server.control


def call(control: MockControl, method: str, path: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {**BEARER, **options.pop("headers", {})}
        return session.request(method, control.url + path, **{"timeout": 30, **options}, headers=headers)


def pull(control: MockControl) -> requests.Response:
    return call(control, "GET", "/jobs?memory=1")


def download(control: MockControl, **options: Any) -> requests.Response:
    return call(control, "GET", "/files//f/download", **options)


def states(control: MockControl) -> list[str]:
    return [job.status for job in control.jobs()]


def test_answers_instead_of_working(control: MockControl) -> None:
    """``status``: any code, headers and body, and nothing is done."""
    control.submit()
    busy = control.fault("status", "^/jobs$", code=429, headers={"Retry-After": "7"})
    html = control.fault("status", "^/jobs$", code=200, body="<html>", content_type="text/html")
    first, second = pull(control), pull(control)

    assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
    assert (second.status_code, second.headers["Content-Type"], second.text) == (200, "text/html", "<html>")
    assert states(control) == ["queued"]
    assert [control.fired(fault) for fault in (busy, html)] == [1, 1]
    assert [record.fault for record in control.requests()] == [busy, html]


def test_answers_500_after_the_work(control: MockControl) -> None:
    """``status_after_work``: the user-facing API failed, and the job is pulled or the status stored."""
    job_id = control.submit()
    fault = control.fault("status_after_work", "^/jobs", times=2)
    codes = [pull(control).status_code]
    codes.append(call(control, "PUT", f"/jobs/{job_id}/status?status=running").status_code)
    events = control.timeline(job_id)

    assert codes == [500, 500]
    assert control.fired(fault) == 2
    assert states(control) == ["running"]
    assert [(e.kind, e.code, e.answered) for e in events[1:]] == [("pulled", 200, 500), ("status", 204, 500)]


def test_loses_an_answer(control: MockControl) -> None:
    """``lose_response``: the job is pulled, and the connection closes without a byte."""
    job_id = control.submit()
    fault = control.fault("lose_response", "^/jobs$")
    with pytest.raises(requests.ConnectionError, match="without response"):
        pull(control)

    assert control.fired(fault) == 1
    assert states(control) == ["pulled"]
    assert [e.answered for e in control.timeline(job_id)] == [None, None]
    assert [record.code for record in control.requests()] == [None]


def test_resets_a_connection(control: MockControl) -> None:
    """``reset``: a TCP reset, and nothing is done."""
    control.submit()
    fault = control.fault("reset", "^/jobs$")
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        pull(control)

    assert control.fired(fault) == 1
    assert states(control) == ["queued"]


def test_hangs_and_forgets_who_left(control: MockControl) -> None:
    """``hang``: who waits too little gets nothing, and nothing is done for them."""
    control.submit()
    fault = control.fault("hang", "^/jobs$")
    with pytest.raises(requests.ReadTimeout):
        call(control, "GET", "/jobs?memory=1", timeout=0.2)
    end = time.monotonic() + 30
    while not control.requests() and time.monotonic() < end:
        time.sleep(0.02)

    assert control.fired(fault) == 1
    assert [record.code for record in control.requests()] == [None]
    assert states(control) == ["queued"]


@pytest.mark.parametrize("seconds", [0.1, None])
def test_hangs_and_goes_on(control: MockControl, seconds: float | None) -> None:
    """``hang``: after its time, or once it is cleared, the answer comes."""
    control.submit()
    fault = control.fault("hang", "^/jobs$", seconds=seconds)
    codes: list[int] = []
    waiting = threading.Thread(target=lambda: codes.append(pull(control).status_code))
    waiting.start()
    end = time.monotonic() + 30
    while control.fired(fault) == 0 and time.monotonic() < end:
        time.sleep(0.02)
    if seconds is None:
        control.clear_faults()
    waiting.join(timeout=30)

    assert codes == [200]
    assert states(control) == ["pulled"]


def cut_download(control: MockControl) -> tuple[int | None, bytes]:
    """The announced length, and the bytes that came before the connection broke."""
    with closing(HTTPConnection(urlsplit(control.url).netloc, timeout=30)) as connection:
        connection.request("GET", "/files//f/download", headers=BEARER)
        answer = connection.getresponse()
        length = answer.length
        with pytest.raises(IncompleteRead) as broken:
            answer.read()
        return length, broken.value.partial


@pytest.mark.parametrize("size", [0, 1, len(CONTENT) - 1])
def test_cuts_a_download(control: MockControl, size: int) -> None:
    """``cut_body_after``: Content-Length is whole, the bytes are not; the rest comes by Range."""
    fault = control.fault("cut_body_after", "/download$", bytes=size)
    length, got = cut_download(control)
    rest = download(control, headers={"Range": f"bytes={size}-"})

    assert control.fired(fault) == 1
    assert (length, got) == (len(CONTENT), CONTENT[:size])
    assert (rest.status_code, got + rest.content) == (206, CONTENT)


def test_ignores_a_range(control: MockControl) -> None:
    """``ignore_range``: 200 and the whole file."""
    fault = control.fault("ignore_range", "/download$")
    answers = [download(control, headers={"Range": "bytes=5-"}) for _ in range(2)]

    assert control.fired(fault) == 1
    assert [answer.status_code for answer in answers] == [200, 206]
    assert [answer.content for answer in answers] == [CONTENT, CONTENT[5:]]


def test_sends_slowly(control: MockControl) -> None:
    """``slow``: the bytes come at the rate that was asked for, and all of them."""
    fault = control.fault("slow", "/download$", bytes_per_second=len(CONTENT) * 2)
    start = time.monotonic()
    answer = download(control)
    seconds = time.monotonic() - start

    assert control.fired(fault) == 1
    assert answer.content == CONTENT
    assert seconds > 0.3


def connected(control: MockControl) -> socket.socket:
    address = urlsplit(control.url)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=30)


def refused(control: MockControl) -> bool:
    try:
        with connected(control):
            return False
    except ConnectionRefusedError:
        return True


def wait_until_up(control: MockControl) -> bool:
    end = time.monotonic() + 30
    while refused(control) and time.monotonic() < end:
        time.sleep(0.02)
    return not refused(control)


def test_refuses_connections_until_told(control: MockControl) -> None:
    """``refuse``: nothing listens until it is told to, on the same port; the controls go on."""
    fault = control.down()
    down = refused(control)
    control.submit()
    control.up()
    control.up()

    assert control.fired(fault) == 1
    assert down
    assert pull(control).status_code == 200


def test_answers_who_asks_it_to_refuse(control: MockControl) -> None:
    """The request that takes the API down gets its answer, on the API's own port too."""
    answer = call(control, "POST", "/_mock/faults", json={"kind": "refuse"})
    down = refused(control)
    control.up()

    assert (answer.status_code, down) == (201, True)


def test_refuses_connections_for_a_while(control: MockControl) -> None:
    """``refuse`` with seconds: it listens again by itself."""
    control.down(seconds=0.2)

    assert wait_until_up(control)
    assert pull(control).status_code == 200


def test_refuses_from_a_request_on(control: MockControl) -> None:
    """``refuse`` with a match: that request is reset, nothing is done, and then nothing listens."""
    control.submit()
    fault = control.fault("refuse", "^/jobs$")
    before = refused(control)
    with pytest.raises(requests.ConnectionError):
        pull(control)
    after, fired = refused(control), control.fired(fault)
    control.clear_faults()

    assert (before, after, fired) == (False, True, 1)
    assert states(control) == ["queued"]
    assert not refused(control)


def test_resets_open_connections_when_it_goes_down(control: MockControl) -> None:
    """``refuse`` breaks the connections that are open, as the end of a process does."""
    with closing(HTTPConnection(urlsplit(control.url).netloc, timeout=30)) as connection:
        connection.request("GET", "/access_info")
        answered = connection.getresponse().read()
        control.down()
        with pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
        control.up()

    assert b"cognito" in answered


def test_plays_a_fault_on_matching_requests_only(control: MockControl) -> None:
    """Method, path and query must match; ``skip`` leaves the first ones alone, ``times`` ends it."""
    fault = control.fault(
        "status", "^/jobs$", method="GET", query_regex="memory=7", skip=1, times=2, code=503
    )
    queries = ["memory=1", *["memory=7"] * 4]
    codes = [call(control, "GET", f"/jobs?{query}").status_code for query in queries]

    assert codes == [200, 200, 503, 503, 200]
    assert [(report.fired, report.left) for report in control.faults() if report.id == fault] == [(2, 0)]


def test_meets_the_first_fault_whose_turn_it_is(control: MockControl) -> None:
    """Faults for the same requests are played one after the other, and one without ``times`` for ever."""
    for code, times in ((501, 1), (502, 2), (503, None)):
        control.fault("status", "^/jobs$", code=code, times=times)
    codes = [pull(control).status_code for _ in range(5)]
    control.clear_faults()

    assert codes == [501, 502, 502, 503, 503]
    assert pull(control).status_code == 200


def test_refuses_a_fault_that_it_does_not_know(control: MockControl) -> None:
    """A misspelt fault is an error at once, not a test that proves nothing."""
    with pytest.raises(ControlRefused, match="422"):
        control.fault("explode")
    with pytest.raises(ControlRefused, match="422"):
        control.fault(FaultKind.STATUS, sise=1)


def test_closes_idle_connections(tmp_path: Path) -> None:
    """A connection that is idle for long enough is closed by the service."""
    with MockServer(tmp_path, "--idle-seconds", "1") as server, connected(server.control) as connection:
        connection.sendall(b"GET /access_info HTTP/1.1\r\nHost: mock\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 200 OK")


def test_answers_nothing_while_paused(server: MockServer, control: MockControl) -> None:
    """A paused server accepts and does not answer; resumed, it goes on."""
    server.pause()
    try:
        with pytest.raises(requests.ReadTimeout):
            call(control, "GET", "/access_info", timeout=0.2)
    finally:
        server.resume()

    assert call(control, "GET", "/access_info").status_code == 200


def test_survives_a_caller_that_leaves(server: MockServer, control: MockControl) -> None:
    """Callers who leave in the middle of a download or an upload leave no error and no file behind."""
    job_id = control.submit()
    pull(control)
    target = f"POST /jobs/{job_id}/files/upload?type=log&base_path= HTTP/1.1\r\n"
    head = f"Host: mock\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nsome'
    with connected(control) as connection:
        connection.sendall(f"{target}{head}Content-Length: 9000\r\n\r\n{part}".encode())
    end = time.monotonic() + 30
    while len(control.requests()) < 2 and time.monotonic() < end:
        time.sleep(0.02)

    assert control.uploads(job_id) == []
    assert list((server.data / "incoming").iterdir()) == []
    assert "Traceback" not in (server.data / "mock.log").read_text()


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_ends_while_requests_are_open(tmp_path: Path, kind: str) -> None:
    """SIGTERM ends the server with code 0 within seconds, whatever is still going on."""
    with MockServer(tmp_path) as server, connected(server.control) as connection:
        server.control.put_file("/f", CONTENT)
        fault = server.control.fault(kind, "/download$", bytes_per_second=1000)
        head = f"GET /files//f/download HTTP/1.1\r\nHost: mock\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        end = time.monotonic() + 30
        while server.control.fired(fault) == 0 and time.monotonic() < end:
            time.sleep(0.02)
        start = time.monotonic()
        code = server.stop()
        seconds = time.monotonic() - start

    assert code == 0
    assert seconds < 10
    assert (tmp_path / "mock.log").read_text() == ""
