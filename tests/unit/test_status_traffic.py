"""Requests to the API are counted by what they ask and how they end."""

import socket

import pytest
from pydantic import SecretStr

from jobfetcher.api import ApiClient, FixedToken
from jobfetcher.api.errors import Unreachable
from jobfetcher.status.traffic import Traffic, called, outcome
from states.ports import Resources

BASE = "https://api.example.org/worker"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/jobs?memory=3", "fetch_jobs"),
        ("PUT", "/jobs/17/status?status=running", "put_status"),
        ("GET", "/jobs/17/status", "job_status"),
        ("GET", "/files//user/a%20b/url", "download_request"),
        ("POST", "/jobs/17/files/url?type=log", "upload_request"),
        ("GET", "/elsewhere", "other"),
    ],
)
def test_each_call_has_a_name(method: str, path: str, expected: str) -> None:
    """Without ids: a metric's labels are few."""
    assert expected == called(method, BASE + path)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "ok"),
        (204, "ok"),
        (401, "not_let_in"),
        (404, "not_found"),
        (422, "refused"),
        (429, "throttled"),
        (503, "failed"),
    ],
)
def test_each_status_is_an_outcome(status: int, expected: str) -> None:
    """Few enough to be drawn, different enough to be acted on."""
    assert expected == outcome(status)


def test_the_last_good_answer_is_remembered() -> None:
    """A bad one does not count."""
    now = [5.0]
    traffic = Traffic(clock=lambda: now[0])
    assert traffic.good_at is None
    traffic.note("fetch_jobs", "ok")
    now[0] = 9.0
    traffic.note("fetch_jobs", "failed")

    assert traffic.good_at == 5.0
    assert {("fetch_jobs", "ok"): 1, ("fetch_jobs", "failed"): 1} == traffic.ended()


def test_a_request_without_an_answer_counts_too() -> None:
    """Nobody listens: unreachable, and the error goes on to the caller."""
    traffic = Traffic()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            ApiClient(url, FixedToken(SecretStr("t")), on_answer=traffic.heard) as client,
            pytest.raises(Unreachable),
        ):
            client.fetch_jobs(Resources(memory=1))

    assert {("fetch_jobs", "unreachable"): 1} == traffic.ended()
