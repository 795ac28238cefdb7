"""The client over a real socket: what it sends, and what it makes of every kind of answer."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pydantic import SecretStr

from jobfetcher._version import __version__
from jobfetcher.api import errors
from jobfetcher.api.auth import FixedToken
from jobfetcher.api.client import MAX_URL, ApiClient
from states.job import ApiStatus
from states.ports import Resources
from states.spec import FileType
from tests.scripted_server import Reply, Script, ScriptedServer, Seen, always, in_turn


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[ApiClient]:
    with ApiClient(server.url, FixedToken(SecretStr("t0ken")), timeout=(2, 2)) as made:
        yield made


def as_json(value: object) -> Script:
    return always(200, json.dumps(value).encode(), Content_Type="application/json")


def test_jobs_are_asked_for_with_the_names_that_the_service_reads(
    server: ScriptedServer, client: ApiClient
) -> None:
    """``gpu_mem`` and ``gpu_archi`` go out under these names, groups one by one, with login and version."""
    server.scripts["GET /jobs"] = as_json({})
    resources = Resources(memory=16, gpu_mem=8, gpu_model="A", gpu_archi="B", groups=("x", "y"))

    assert client.fetch_jobs(resources, limit=2) == []
    [seen] = server.seen
    expected = {
        "memory": ["16"],
        "cpu_cores": ["1"],
        "gpu_mem": ["8"],
        "gpu_model": ["A"],
        "gpu_archi": ["B"],
        "groups": ["x", "y"],
        "older_than": ["0"],
        "limit": ["2"],
    }
    assert expected == parse_qs(urlsplit(seen.path).query)
    assert ("Bearer t0ken", f"jobfetcher/{__version__}") == (
        seen.headers["authorization"],
        seen.headers["user-agent"],
    )


def test_a_job_that_cannot_be_read_is_still_a_job(server: ScriptedServer, client: ApiClient) -> None:
    """What does not validate becomes a spec with a problem, so that its owner is told."""
    server.scripts["GET /jobs"] = as_json({"5": {"app": 3}})

    [spec] = client.fetch_jobs(Resources(memory=1))
    assert (spec.id, spec.problem is not None) == ("5", True)


def test_a_broken_job_among_good_ones_is_still_a_job(server: ScriptedServer, client: ApiClient) -> None:
    """One value that is no object beside one that is: both were taken out of the queue."""
    server.scripts["GET /jobs"] = as_json({"5": None, "6": {"app": 3}})

    assert ["5", "6"] == [spec.id for spec in client.fetch_jobs(Resources(memory=1), limit=2)]


def test_no_jobs_are_no_error(server: ScriptedServer, client: ApiClient) -> None:
    """An empty queue answers with an empty object."""
    server.scripts["GET /jobs"] = as_json({})

    assert [] == client.fetch_jobs(Resources(memory=1))


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_url_of_the_api_may_have_a_path(server: ScriptedServer, slash: str) -> None:
    """A path in API_URL is kept, with or without a slash at its end."""
    server.scripts["GET /some/path/jobs/7/status"] = as_json("running")
    with ApiClient(f"{server.url}/some/path{slash}", FixedToken(SecretStr("t"))) as client:
        assert client.job_status("7") == "running"


@pytest.mark.parametrize(
    "file_id",
    ["/user data/a.tif", "s3://bucket/k#1", "a?b", "a%20b", "Zählung/ü.h5", "/user_data//x", "a+b&c=d;e"],
)
def test_file_ids_come_back_as_they_were(server: ScriptedServer, client: ApiClient, file_id: str) -> None:
    """A file id reaches the server unchanged, and the decoded local URL is made sendable again."""

    def described(reply: Reply, seen: Seen) -> None:
        plain = {"method": "get", "url": f"{server.url}/files/{file_id}/download"}
        reply.answer(200, json.dumps(plain).encode())

    server.otherwise = described
    request = client.download_request(file_id)
    [sent] = server.seen
    assert f"/files/{file_id}/url" == unquote(sent.path)
    assert "?" not in sent.path
    assert f"{server.url}/files/{file_id}/download" == unquote(request.url)
    assert set() == set(urlsplit(request.url).query + urlsplit(request.url).fragment)


def test_only_requests_to_the_api_itself_carry_its_login(server: ScriptedServer, client: ApiClient) -> None:
    """The token goes along to the API's own file routes, never to another host or to a storage beside it."""
    server.scripts["POST /jobs/1/files/url"] = in_turn(
        as_json({"method": "post", "url": f"{server.url}/jobs/1/files/upload?x=1"}),
        as_json({"method": "post", "url": "https://s3.example/b", "headers": {"x": "y"}, "data": {"k": "v"}}),
        as_json({"method": "post", "url": f"{server.url}/bucket"}),
    )
    ours = client.upload_request("1", FileType.OUTPUT, "")
    theirs = client.upload_request("1", FileType.OUTPUT, "")
    beside = client.upload_request("1", FileType.OUTPUT, "")

    assert ours.headers == {"Authorization": "Bearer t0ken"}
    assert (theirs.headers, theirs.data) == ({"x": "y"}, {"k": "v"})
    assert beside.headers == {}
    assert server.paths() == ["POST /jobs/1/files/url?type=output&base_path="] * 3


def test_a_long_detail_keeps_its_beginning_and_its_end(server: ScriptedServer, client: ApiClient) -> None:
    """The URL stays under 8 KB; first line and last lines arrive, NUL does not."""
    server.scripts["PUT /jobs/1/status"] = always(204)
    client.put_status("1", ApiStatus.ERROR, "What happened.\0\n" + "ü€ zu lang\n" * 5000 + "last line")

    [seen] = server.seen
    arrived = parse_qs(urlsplit(seen.path).query)["runtime_details"][0]
    assert len(server.url + seen.path) <= MAX_URL
    assert (arrived.split("\n")[0], arrived.split("\n")[-1]) == ("What happened.", "last line")
    assert "\0" not in arrived


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (422, errors.Invalid),
        (429, errors.TooManyRequests),
        (500, errors.ServerError),
        (502, errors.ServerError),
        (418, errors.ApiAnswer),
    ],
)
def test_every_status_has_its_error(
    server: ScriptedServer, client: ApiClient, status: int, kind: type[errors.ApiAnswer]
) -> None:
    """A status that is not asked for is raised as its own type, without query or token in the text."""
    server.scripts["PUT /jobs/1/status"] = always(status, b"<html>no, see https://h/x?sig=secret</html>")
    with pytest.raises(errors.ApiAnswer) as caught:
        client.put_status("1", ApiStatus.ERROR, "private")

    assert (kind, status) == (type(caught.value), caught.value.status)
    assert "secret" not in str(caught.value)
    assert "private" not in str(caught.value)


def test_retry_after_is_in_seconds(server: ScriptedServer, client: ApiClient) -> None:
    """Both forms of Retry-After end as seconds, ten minutes at most; a date is read by the server's clock."""
    server.scripts["GET /jobs/1/status"] = in_turn(
        always(429, Retry_After="7"),
        lambda reply, _: reply.answer(503, Retry_After=formatdate(9e9, usegmt=True)),
    )
    with pytest.raises(errors.TooManyRequests) as busy:
        client.job_status("1")
    with pytest.raises(errors.ServerError) as away:
        client.job_status("1")

    assert busy.value.retry_after == 7.0
    assert away.value.retry_after == 600.0


@pytest.mark.parametrize(
    ("call", "body", "kind"),
    [
        pytest.param(lambda c: c.job_status("1"), b"<html>sign in</html>", errors.NotJson, id="html"),
        pytest.param(
            lambda c: c.put_status("1", ApiStatus.RUNNING), b"<html>", errors.NotJson, id="html to a put"
        ),
        pytest.param(lambda c: c.job_status("1"), b"{}", errors.WrongShape, id="status"),
        pytest.param(lambda c: c.fetch_jobs(Resources(memory=1)), b"[]", errors.WrongShape, id="jobs"),
        pytest.param(
            lambda c: c.fetch_jobs(Resources(memory=1)),
            b'{"detail": "maintenance"}',
            errors.WrongShape,
            id="word of a proxy",
        ),
        pytest.param(
            lambda c: c.fetch_jobs(Resources(memory=1)), b"[" * 100_000, errors.WrongShape, id="too deep"
        ),
        pytest.param(lambda c: c.download_request("f"), b"[]", errors.WrongShape, id="file list"),
        pytest.param(lambda c: c.download_request("f"), b'{"url": 3}', errors.WrongShape, id="file request"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(
    server: ScriptedServer, client: ApiClient, call: Callable[[ApiClient], Any], body: bytes, kind: type
) -> None:
    """A sign-in page with a 200, or JSON of another shape, is never taken for success."""
    for route in ("GET /jobs/1/status", "PUT /jobs/1/status", "GET /jobs", "GET /files/f/url"):
        server.scripts[route] = always(200, body)
    with pytest.raises(kind):
        call(client)


def test_a_refused_connection_was_never_sent() -> None:
    """Nobody listens: the request surely did not arrive."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            ApiClient(url, FixedToken(SecretStr("t"))) as client,
            pytest.raises(errors.Unreachable) as caught,
        ):
            client.fetch_jobs(Resources(memory=1))

    assert (caught.value.sent, "connection refused" in str(caught.value)) == (False, True)


def test_an_unknown_host_was_never_sent() -> None:
    """A name that does not resolve: the request surely did not arrive."""
    with (
        ApiClient("http://nobody.invalid", FixedToken(SecretStr("t"))) as client,
        pytest.raises(errors.Unreachable) as caught,
    ):
        client.fetch_jobs(Resources(memory=1))

    assert False is caught.value.sent


def hang_up(reply: Reply, seen: Seen) -> None:
    reply.hang_up()


def half(reply: Reply, seen: Seen) -> None:
    reply.start(200, Content_Length="100")
    reply.wfile.write(b'{"a"')
    reply.hang_up()


@pytest.mark.parametrize("fault", [hang_up, half])
def test_an_answer_that_breaks_off_may_have_been_sent(
    server: ScriptedServer, client: ApiClient, fault: Script
) -> None:
    """The request went out and no whole answer came: nobody knows what was done."""
    server.scripts["GET /jobs"] = fault
    with pytest.raises(errors.Unreachable) as caught:
        client.fetch_jobs(Resources(memory=1))

    assert (caught.value.sent, len(server.seen)) == (True, 1)


def test_a_silent_server_is_left_after_the_time_out(server: ScriptedServer) -> None:
    """A read that times out ends as Unreachable that may have been sent."""

    def silent(reply: Reply, seen: Seen) -> None:
        reply.rfile.read(1)

    server.scripts["GET /jobs"] = silent
    with (
        ApiClient(server.url, FixedToken(SecretStr("t")), timeout=(2, 0.2)) as client,
        pytest.raises(errors.Unreachable, match="timed out") as caught,
    ):
        client.fetch_jobs(Resources(memory=1))

    assert True is caught.value.sent


def test_a_server_that_drips_is_not_waited_for(server: ScriptedServer) -> None:
    """One byte after the other keeps no call alive for ever: the clock decides."""
    ticks = iter(range(0, 10**9, 50))

    def drip(reply: Reply, seen: Seen) -> None:
        reply.start(200, Content_Length="10")
        for _ in range(10):
            reply.wfile.write(b"1")

    server.scripts["GET /jobs/1/status"] = drip
    with (
        ApiClient(
            server.url, FixedToken(SecretStr("t")), timeout=(1, 1), clock=lambda: next(ticks)
        ) as client,
        pytest.raises(errors.Unreachable, match="too slowly"),
    ):
        client.job_status("1")


def test_a_reused_connection_that_broke_is_replaced_for_reads_only(
    server: ScriptedServer, client: ApiClient
) -> None:
    """A read is sent once more over a new connection; a fetch of jobs is not."""
    server.scripts["GET /jobs/1/status"] = in_turn(as_json("running"), hang_up, as_json("finished"))
    server.scripts["GET /jobs"] = hang_up

    assert (client.job_status("1"), client.job_status("1")) == ("running", "finished")
    with pytest.raises(errors.Unreachable):
        client.fetch_jobs(Resources(memory=1))
    assert server.paths()[:3] == ["GET /jobs/1/status"] * 3
    assert len(server.seen) == 4


def test_an_idle_connection_is_not_used_again(server: ScriptedServer) -> None:
    """After some idle seconds the next request opens a connection of its own."""
    now = [0.0]
    peers: list[Any] = []

    def note(reply: Reply, seen: Seen) -> None:
        peers.append(reply.client_address)
        reply.answer(200, b'"running"')

    server.scripts["GET /jobs/1/status"] = note
    with ApiClient(server.url, FixedToken(SecretStr("t")), clock=lambda: now[0]) as client:
        client.job_status("1")
        client.job_status("1")
        now[0] += 4.5
        client.job_status("1")

    assert (peers[0] == peers[1], peers[1] == peers[2]) == (True, False)


def test_a_redirect_to_another_host_carries_no_login(server: ScriptedServer, client: ApiClient) -> None:
    """The token stays with the host that it is for."""
    with ScriptedServer() as other:
        other.scripts["GET /there"] = as_json("running")
        server.scripts["GET /jobs/1/status"] = always(307, Location=f"{other.url}/there")

        assert client.job_status("1") == "running"
        assert [seen.headers.get("authorization") for seen in other.seen] == [None]


def test_a_redirected_put_that_became_a_get_is_no_success(server: ScriptedServer, client: ApiClient) -> None:
    """A status that was not stored is not taken as told."""
    server.scripts["PUT /jobs/1/status"] = always(302, Location="/there")
    server.scripts["GET /there"] = as_json("running")
    with pytest.raises(errors.ApiAnswer, match="set API_URL"):
        client.put_status("1", ApiStatus.RUNNING)


def jwt(issued: float) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps({"iat": issued}).encode()).decode().rstrip("=") + ".s"


class Renewable:
    """A login whose tokens are handed in."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    def token(self) -> str:
        return self._tokens[0]

    def renew(self, after: str) -> str:
        if len(self._tokens) > 1:
            self._tokens.remove(after)
        return self._tokens[0]


def only_for(token: str) -> Script:
    def script(reply: Reply, seen: Seen) -> None:
        good = seen.headers["authorization"] == f"Bearer {token}"
        reply.answer(200 if good else 401, b'"running"')

    return script


def test_a_refused_token_is_renewed_once(server: ScriptedServer) -> None:
    """After a 401 the request is sent again with another token, and only once."""
    server.scripts["GET /jobs/1/status"] = only_for("new")
    with ApiClient(server.url, Renewable("old", "new")) as client:
        assert client.job_status("1") == "running"
    with (
        ApiClient(server.url, Renewable("old", "older", "new")) as client,
        pytest.raises(errors.Unauthorized),
    ):
        client.job_status("1")

    assert len(server.seen) == 4


def test_a_token_from_the_future_is_sent_again_after_a_pause(server: ScriptedServer) -> None:
    """A token whose ``iat`` is ahead of the server's clock gets its time, without a new login."""
    pauses: list[float] = []
    server.scripts["GET /jobs/1/status"] = in_turn(always(401), as_json("running"))
    with ApiClient(server.url, Renewable(jwt(9e9)), sleep=pauses.append) as client:
        assert client.job_status("1") == "running"

    assert (pauses, len(server.seen)) == ([1.5], 2)
