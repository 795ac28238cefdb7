"""The mock's files over a socket, on its local disk and as with S3."""

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from mock_api.client import TOKEN, MockControl, MockServer
from mock_api.records import Upload

BEARER = {"Authorization": f"Bearer {TOKEN}"}
ODD = "/user data/a b#c?d%20ü.tif"
CONTENT = hashlib.shake_256(b"content").digest(2048)


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(tmp_path_factory.mktemp("local")) as server:
        yield server


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    flags = ("--files", "presigned", "--max-post-bytes", "5000000")
    with MockServer(tmp_path_factory.mktemp("s3"), *flags) as server:
        yield server


@pytest.fixture
def local(local_server: MockServer) -> MockControl:
    local_server.control.reset()
    return local_server.control


@pytest.fixture
def s3(s3_server: MockServer) -> MockControl:
    s3_server.control.reset()
    return s3_server.control


def call(method: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=30, **options)


def file_url(control: MockControl, file_id: str, what: str) -> str:
    return f"{control.url}/files/{quote(file_id)}/{what}"


def leased(control: MockControl, **spec: Any) -> int:
    """A job that has been pulled and has had its first status."""
    job_id = control.submit(**spec)
    call("GET", f"{control.url}/jobs?memory=1", headers=BEARER)
    call("PUT", f"{control.url}/jobs/{job_id}/status?status=preprocessing", headers=BEARER)
    return job_id


def asked_url(control: MockControl, job_id: int, kind: str, base_path: str) -> dict[str, Any]:
    params = {"type": kind, "base_path": base_path}
    answer = call("POST", f"{control.url}/jobs/{job_id}/files/url", params=params, headers=BEARER)
    assert answer.status_code == 201
    asked: dict[str, Any] = answer.json()
    return asked


def sent(asked: dict[str, Any], name: str, content: bytes, **options: Any) -> requests.Response:
    return call(asked["method"], asked["url"], data=asked["data"], files={"file": (name, content)}, **options)


def rules(control: MockControl) -> list[str]:
    return [violation.rule for violation in control.violations()]


def as_upload(job_id: int, folder: str, name: str, content: bytes, times: int = 1) -> Upload:
    kind, _, base_path = folder.partition("/")
    checksum = hashlib.sha256(content).hexdigest()
    return Upload(job_id, job_id, 1, kind, base_path, name, len(content), checksum, times)


# Downloads from the local disk


@pytest.mark.parametrize("file_id", ["/user_data/f", "f", ODD])
def test_gives_files_by_their_quoted_id(local: MockControl, file_id: str) -> None:
    """A quoted id comes back unchanged, whatever is in it; the URL in the answer is not quoted."""
    local.put_file(file_id, CONTENT)
    asked = call("GET", file_url(local, file_id, "url"), headers=BEARER).json()
    got = call("GET", file_url(local, file_id, "download"), headers=BEARER)

    expected = {"method": "get", "url": f"{local.url}/files/{file_id}/download", "headers": {}, "data": {}}
    assert expected == asked
    assert (200, CONTENT, str(len(CONTENT))) == (got.status_code, got.content, got.headers["Content-Length"])


def test_records_downloads_in_the_timeline(local: MockControl) -> None:
    """What a job downloads stands in its timeline."""
    local.put_file("/user_data/f", CONTENT)
    job_id = leased(local, files_down={"data/f": "/user_data/f"})
    for what in ("url", "download"):
        call("GET", file_url(local, "/user_data/f", what), headers=BEARER)

    kinds = [event.kind for event in local.timeline(job_id)]
    assert kinds == ["queued", "pulled", "status", "download_url", "download"]


RANGES = [
    pytest.param("bytes=0-9", 206, CONTENT[:10], id="first bytes"),
    pytest.param("bytes=2040-", 206, CONTENT[2040:], id="from"),
    pytest.param("bytes=-8", 206, CONTENT[-8:], id="last bytes"),
    pytest.param("bytes=10-99999", 206, CONTENT[10:], id="beyond the end"),
]


@pytest.mark.parametrize(("asked", "code", "content"), RANGES)
def test_gives_one_range(local: MockControl, asked: str, code: int, content: bytes) -> None:
    """A single Range is answered with 206 and exactly those bytes."""
    local.put_file("/r", CONTENT)
    got = call("GET", file_url(local, "/r", "download"), headers={**BEARER, "Range": asked})
    first = CONTENT.index(content)

    assert (got.status_code, got.content) == (code, content)
    assert got.headers["Content-Range"] == f"bytes {first}-{first + len(content) - 1}/{len(CONTENT)}"


def test_minds_if_range(local: MockControl) -> None:
    """If-Range gives the range while the ETag is the same, and the whole new file after a change."""
    local.put_file("/r", CONTENT)
    url = file_url(local, "/r", "download")
    tag = call("GET", url, headers=BEARER).headers["ETag"]
    headers = {**BEARER, "Range": "bytes=2000-", "If-Range": tag}
    same = call("GET", url, headers=headers)
    local.put_file("/r", CONTENT[::-1])
    changed = call("GET", url, headers=headers)

    assert (same.status_code, same.content) == (206, CONTENT[2000:])
    assert (changed.status_code, changed.content) == (200, CONTENT[::-1])


def test_refuses_other_ranges(local: MockControl) -> None:
    """A Range of an empty file or past the end is a 416; several ranges are broken, and noticed."""
    local.put_file("/empty", b"")
    local.put_file("/r", CONTENT)
    asked = [("/empty", "bytes=0-"), ("/r", "bytes=2048-"), ("/r", "bytes=0-1,4-5")]
    urls = [(file_url(local, file_id, "download"), {**BEARER, "Range": value}) for file_id, value in asked]

    assert [call("GET", url, headers=headers).status_code for url, headers in urls] == [416, 416, 400]
    assert rules(local) == ["bad_range"]


def test_gives_an_empty_file(local: MockControl) -> None:
    """An empty file is a 200 with no bytes."""
    local.put_file("/empty", b"")
    got = call("GET", file_url(local, "/empty", "download"), headers=BEARER)

    assert (got.status_code, got.content, got.headers["Content-Length"]) == (200, b"", "0")


def test_answers_for_what_is_no_file(local: MockControl) -> None:
    """The URL always comes; then a folder is a 500, what is missing or outside a 404, and HEAD a 405."""
    local.put_file("/folder/f", CONTENT)
    ids = ("/folder", "/missing", "/../requests.jsonl")
    urls = [call("GET", file_url(local, file_id, "url"), headers=BEARER).status_code for file_id in ids]
    files = [call("GET", file_url(local, file_id, "download"), headers=BEARER).status_code for file_id in ids]
    head = call("HEAD", file_url(local, "/folder/f", "download"), headers=BEARER)

    assert (urls, files, head.status_code) == ([200] * 3, [500, 404, 404], 405)


# Uploads to the local disk


def test_keeps_uploads(local: MockControl) -> None:
    """One answer serves all files of a folder; overwriting and empty files are fine."""
    job_id = leased(local)
    asked = asked_url(local, job_id, "artifact", "model/a b")
    names = [("b.pt", CONTENT), ("ü #.pt", b""), ("b.pt", b"new")]
    codes = [sent(asked, name, content, headers=BEARER).status_code for name, content in names]
    expected = [
        as_upload(job_id, "artifact/model/a b", "b.pt", b"new", times=2),
        as_upload(job_id, "artifact/model/a b", "ü #.pt", b""),
    ]

    assert codes == [201] * 3
    assert local.uploads(job_id) == expected
    assert local.uploaded(job_id, "artifact/model/a b/b.pt") == b"new"
    assert rules(local) == []


def test_wants_a_base_path_and_a_file(local: MockControl) -> None:
    """``base_path`` may be empty and must be there; so must the file: else 422."""
    job_id = leased(local)
    base = f"{local.url}/jobs/{job_id}/files"
    without = call("POST", f"{base}/url?type=log", headers=BEARER).json()
    form = {"headers": BEARER, "files": {"other": ("f", b"")}}
    codes = [
        sent(without, "f", b"", headers=BEARER).status_code,
        sent(asked_url(local, job_id, "log", ""), "f", b"", headers=BEARER).status_code,
        call("POST", f"{base}/upload?type=log&base_path=", **form).status_code,
        call("POST", f"{base}/upload?type=log&base_path=", headers=BEARER, data=b"text").status_code,
        call("POST", f"{base}/upload?type=wrong&base_path=", **form).status_code,
    ]

    assert codes == [422, 201, 422, 422, 422]
    assert [upload.path for upload in local.uploads(job_id)] == ["log/f"]


def test_notices_names_that_lead_elsewhere(local: MockControl) -> None:
    """A file name with a slash and a base path that climbs out are accepted, noticed, and kept nowhere."""
    job_id = leased(local)
    sent(asked_url(local, job_id, "log", ""), "a/f", CONTENT, headers=BEARER)
    sent(asked_url(local, job_id, "log", "../.."), "f", CONTENT, headers=BEARER)

    assert rules(local) == ["file_name_not_bare", "base_path_outside"]
    assert local.uploads(job_id) == []


def test_refuses_the_uploads_of_a_deleted_job(local: MockControl) -> None:
    """The file of a deleted job is a 500 and not kept."""
    job_id = leased(local)
    asked = asked_url(local, job_id, "log", "")
    local.delete_job(job_id)

    assert sent(asked, "f", CONTENT, headers=BEARER).status_code == 500
    assert local.uploads(job_id) == []


def test_notices_uploads_at_a_wrong_time(local: MockControl) -> None:
    """An upload before any status, after the end, or well after the 404 is never right."""
    early, late, gone = (local.submit() for _ in range(3))
    call("GET", f"{local.url}/jobs?memory=1&limit=3", headers=BEARER)
    status = f"{local.url}/jobs/{{}}/status?status=finished"
    asked = {job_id: asked_url(local, job_id, "log", "") for job_id in (early, late, gone)}
    sent(asked[early], "f", b"", headers=BEARER)
    call("PUT", status.format(late), headers=BEARER)
    sent(asked[late], "f", b"", headers=BEARER)
    local.delete_job(gone)
    call("PUT", status.format(gone), headers=BEARER)
    sent(asked[gone], "f", b"", headers=BEARER)
    local.advance(6)
    sent(asked[gone], "f", b"", headers=BEARER)

    assert rules(local) == ["upload_before_status", "upload_after_terminal", "upload_after_404"]


def test_keeps_files_of_a_reused_id_apart(local: MockControl) -> None:
    """A later job with the same id starts without the earlier one's files."""
    first = leased(local)
    sent(asked_url(local, first, "log", ""), "old", CONTENT, headers=BEARER)
    local.delete_job(first)
    call("PUT", f"{local.url}/jobs/{first}/status?status=running", headers=BEARER)
    again = leased(local)
    sent(asked_url(local, again, "log", ""), "new", CONTENT, headers=BEARER)

    assert again == first
    assert [upload.path for upload in local.uploads(again)] == ["log/new"]


# As with S3


def presigned(control: MockControl, file_id: str) -> str:
    asked = call("GET", file_url(control, file_id, "url"), headers=BEARER).json()
    assert asked["headers"] == asked["data"] == {}
    return str(asked["url"])


@pytest.mark.parametrize("file_id", ["s3://bucket/data/f", ODD])
def test_signs_downloads(s3: MockControl, file_id: str) -> None:
    """A presigned URL needs no token, gives the file, and takes a Range."""
    s3.put_file(file_id, CONTENT)
    url = presigned(s3, file_id)
    whole, part = call("GET", url), call("GET", url, headers={"Range": "bytes=8-"})

    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert (part.status_code, part.content) == (206, CONTENT[8:])


def test_refuses_unsigned_downloads(s3: MockControl) -> None:
    """Expired or changed: 403; HEAD: 403; a second way to authenticate: 400, and noticed."""
    s3.put_file("/f", CONTENT)
    url = presigned(s3, "/f")
    answers = [call("HEAD", url), call("GET", url, headers=BEARER), call("GET", url + "0")]
    s3.advance(601)
    answers.append(call("GET", url))

    assert [answer.status_code for answer in answers] == [403, 400, 403, 403]
    assert "Request has expired" in answers[-1].text
    assert call("GET", presigned(s3, "/f")).status_code == 200
    assert rules(s3) == ["authorization_to_storage"]


def test_knows_no_folders(s3: MockControl) -> None:
    """The URL of a prefix or a missing key comes, and its GET is a 404; a Range of nothing a 416."""
    s3.put_file("/folder/f", b"")
    asked = [("/folder", {}), ("/missing", {}), ("/folder/f", {"Range": "bytes=0-"})]
    answers = [call("GET", presigned(s3, file_id), headers=headers) for file_id, headers in asked]

    assert [answer.status_code for answer in answers] == [404, 404, 416]
    assert "NoSuchKey" in answers[0].text


def test_takes_posts_into_a_folder(s3: MockControl) -> None:
    """One answer serves all files of a folder: 204 without a body, and no token."""
    job_id = leased(s3)
    asked = asked_url(s3, job_id, "output", "a/b")
    big = CONTENT * 2000
    answers = [sent(asked, name, content) for name, content in (("big", big), ("empty", b""))]
    expected = [as_upload(job_id, "output/a/b", "big", big), as_upload(job_id, "output/a/b", "empty", b"")]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert s3.uploads(job_id) == expected
    assert rules(s3) == []


def test_refuses_bad_posts(s3: MockControl) -> None:
    """Authorization: 400; too big: 400; changed or missing fields: 403; too old: 403."""
    job_id = leased(s3)
    asked = asked_url(s3, job_id, "output", "a")
    changed = {**asked, "data": {**asked["data"], "key": "elsewhere/${filename}"}}
    answers = [
        sent(asked, "f", b"", headers=BEARER),
        sent(asked, "f", bytes(5_000_001)),
        sent(changed, "f", b""),
        sent({**asked, "data": {}}, "f", b""),
    ]
    s3.advance(601)
    answers.append(sent(asked, "f", b""))

    assert [answer.status_code for answer in answers] == [400, 400, 403, 403, 403]
    assert s3.uploads(job_id) == []
    assert rules(s3) == ["authorization_to_storage"]


def test_ignores_fields_after_the_file(s3: MockControl) -> None:
    """The file must come last: what comes after it counts as missing."""
    asked = asked_url(s3, leased(s3), "output", "a")
    fields = [("file", ("f", b"x")), *((name, (None, value)) for name, value in asked["data"].items())]

    assert call("POST", asked["url"], files=fields).status_code == 403
    assert rules(s3) == ["field_after_file"]
