"""How requests travel: over TLS, through proxies, along redirects, over connections that were used before."""

import base64
import gzip
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from jobfetcher.api import errors
from jobfetcher.api.auth import FixedToken
from jobfetcher.api.client import ApiClient
from jobfetcher.api.retries import NEVER
from jobfetcher.transfer.multipart import Multipart
from jobfetcher.transfer.pool import Pool
from states.job import ApiStatus
from states.ports import Resources
from tests.certificates import secured
from tests.scripted_server import Reply, Script, ScriptedServer, Seen, always, in_turn

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*BUNDLES, "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def client_of(url: str) -> ApiClient:
    return ApiClient(url, FixedToken(SecretStr("t0ken")), timeout=(5, 5))


RUNNING = always(200, b'"running"')


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[ScriptedServer, Path]]:
    context, trusted = secured(tmp_path)
    with ScriptedServer(tls=context) as running:
        running.scripts["GET /jobs/1/status"] = RUNNING
        running.scripts["POST /up"] = always(201)
        yield running, trusted


@pytest.mark.parametrize("variable", BUNDLES)
def test_certificates_are_those_of_the_environment(
    secure: tuple[ScriptedServer, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network with an authority of its own names it in one of the usual variables."""
    server, trusted = secure
    monkeypatch.setenv(variable, str(trusted))
    with client_of(server.url) as client:
        assert client.job_status("1") == "running"


def test_an_unknown_certificate_is_refused_before_anything_is_sent(
    secure: tuple[ScriptedServer, Path],
) -> None:
    """The token goes to nobody who cannot show who it is."""
    server, _ = secure
    with client_of(server.url) as client, pytest.raises(errors.Unreachable, match="TLS") as caught:
        client.fetch_jobs(Resources(memory=1))

    assert (False, []) == (caught.value.sent, server.seen)


def test_a_large_file_goes_up_over_tls(
    secure: tuple[ScriptedServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel cannot send it by itself there; it arrives all the same."""
    server, trusted = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    content = os.urandom(1024) * 3000
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, Pool(1) as pool:
        form = Multipart({}, "f", [(file.fileno(), 0, len(content))])
        headers = {"Content-Length": str(form.length), "Content-Type": form.content_type}
        with pool.post("post", f"{server.url}/up", headers, form, NEVER) as response:
            assert response.status == 201

    assert content in server.seen[0].body


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_is_asked_with_its_login(
    server: ScriptedServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API and files are asked for through the proxy of the environment, which may want a password."""
    monkeypatch.setenv(name, server.url.replace("//", "//me:p%40ss@"))
    server.scripts["GET http://nobody.invalid/jobs/1/status"] = RUNNING
    server.scripts["GET http://nobody.invalid/f"] = always(200, b"content")
    with client_of("http://nobody.invalid") as client:
        assert client.job_status("1") == "running"
    with Pool(1) as pool, pool.get("get", "http://nobody.invalid/f", {}, NEVER) as response:
        assert response.read() == b"content"

    basic = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert [basic] * 2 == [seen.headers["proxy-authorization"] for seen in server.seen]
    assert ["nobody.invalid"] * 2 == [seen.headers["host"] for seen in server.seen]


def test_some_servers_need_no_proxy(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is heeded."""
    monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.scripts["GET /jobs/1/status"] = RUNNING
    with client_of(server.url) as client:
        assert client.job_status("1") == "running"


def test_a_proxy_that_is_not_there_got_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request surely did not reach the API."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with client_of("http://api.invalid") as client, pytest.raises(errors.Unreachable) as caught:
        client.fetch_jobs(Resources(memory=1))

    assert not caught.value.sent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_question_keeps_its_login_on_the_same_server(
    server: ScriptedServer, status: int
) -> None:
    """The API has moved within its host."""
    server.scripts["GET /jobs/1/status"] = always(status, Location="/v2/jobs/1/status")
    server.scripts["GET /v2/jobs/1/status"] = RUNNING
    with client_of(server.url) as client:
        assert client.job_status("1") == "running"

    assert ["Bearer t0ken"] * 2 == [seen.headers["authorization"] for seen in server.seen]


@pytest.mark.parametrize("status", [307, 308])
def test_a_put_is_redirected_as_a_put(server: ScriptedServer, status: int) -> None:
    """These two say that the method stays."""
    server.scripts["PUT /jobs/1/status"] = always(status, Location="/there")
    server.scripts["PUT /there"] = always(204)
    with client_of(server.url) as client:
        client.put_status("1", ApiStatus.RUNNING)

    assert server.paths()[1] == "PUT /there"


def test_redirects_without_end_are_left(server: ScriptedServer) -> None:
    """A circle is no place to wait in."""
    server.scripts["GET /jobs/1/status"] = always(307, Location="/jobs/1/status")
    with client_of(server.url) as client, pytest.raises(errors.ApiAnswer, match="for ever"):
        client.job_status("1")

    assert len(server.seen) == 31


def test_an_encoded_answer_is_decoded(server: ScriptedServer) -> None:
    """We say that we take gzip, so it may come."""
    server.scripts["GET /jobs/1/status"] = always(200, gzip.compress(b'"running"'), Content_Encoding="gzip")
    with client_of(server.url) as client:
        assert client.job_status("1") == "running"

    assert "gzip" in server.seen[0].headers["accept-encoding"]


def hang_up(reply: Reply, seen: Seen) -> None:
    reply.hang_up()


def noting(peers: list[Any], *answers: Script) -> Script:
    script = in_turn(*answers)

    def note(reply: Reply, seen: Seen) -> None:
        peers.append(reply.client_address)
        script(reply, seen)

    return note


def test_threads_share_their_connections(server: ScriptedServer) -> None:
    """What one thread opened, the next goes on with: a job's threads are gone when its next step begins."""
    peers: list[Any] = []
    server.scripts["GET /jobs/1/status"] = noting(peers, RUNNING)
    with client_of(server.url) as client:
        for _ in range(3):
            with ThreadPoolExecutor(1) as thread:
                thread.submit(client.job_status, "1").result()

    assert len(set(peers)) == 1


def test_what_is_sent_once_more_goes_over_a_new_connection(server: ScriptedServer) -> None:
    """If one kept connection was broken, the others may be, too."""
    peers: list[Any] = []
    both = threading.Barrier(2, timeout=30)

    def together(reply: Reply, seen: Seen) -> None:
        both.wait()
        reply.answer(200, b'"running"')

    server.scripts["GET /jobs/1/status"] = noting(peers, together, together, hang_up, RUNNING)
    with client_of(server.url) as client:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(client.job_status, ["1", "1"]))
        assert client.job_status("1") == "running"

    assert (2, True, False) == (len(set(peers[:2])), peers[2] in peers[:2], peers[3] in peers[:3])


def test_a_closed_client_opens_new_connections(server: ScriptedServer) -> None:
    """Closing is no end."""
    peers: list[Any] = []
    server.scripts["GET /jobs/1/status"] = noting(peers, RUNNING)
    with client_of(server.url) as client:
        client.job_status("1")
        client.close()
        client.job_status("1")

    assert len(set(peers)) == 2


def test_everybody_is_told_of_each_answer(server: ScriptedServer) -> None:
    """Whoever counts hears method, URL and status of each request, and of those without an answer."""
    heard: list[tuple[str, str, int | None]] = []
    server.scripts["GET /jobs"] = in_turn(always(200, json.dumps({}).encode()), always(503), hang_up)

    def hear(method: str, url: str, status: int | None) -> None:
        heard.append((method, url.removeprefix(server.url).partition("?")[0], status))

    with ApiClient(server.url, FixedToken(SecretStr("t")), on_answer=hear) as client:
        client.fetch_jobs(Resources(memory=1))
        for _ in range(2):
            with pytest.raises(errors.ApiError):
                client.fetch_jobs(Resources(memory=1))

    assert [("GET", "/jobs", 200), ("GET", "/jobs", 503), ("GET", "/jobs", None)] == heard
