"""Checks of the API: is it there, is it the right one, does it let this account in.

``GET /jobs`` is never used: it would take a job. The status of a job that there is not tells the same.
"""

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Protocol

from jobfetcher.api.auth import Auth, understood
from jobfetcher.api.errors import ApiAnswer, ApiError, Forbidden, NotFound, Unauthorized, Unreachable
from jobfetcher.api.wire import Answer, Wire
from jobfetcher.doctor.check import Check, failed, ok, skipped, warning

TIMEOUT = (5.0, 10.0)
SKEW_SECONDS = 5.0
"""The API's times have whole seconds, and an answer takes its time."""
NO_JOB = "0"
_MENDS = {
    "no such host": "Check the spelling of API_URL, and that this machine is connected to the network.",
    "connection refused": "Check the port in API_URL; if it is right, the service is down: try later.",
    "TLS": "Set this machine's clock, and install your network's certificate if it has one of its own "
    "(SSL_CERT_FILE).",
    "timed out": "Ask your network's administrator to let this machine reach API_URL.",
}


class Status(Protocol):
    """The one call that is asked of the API."""

    def job_status(self, job_id: str) -> str: ...


def check_service(
    url: str,
    auth: Auth,
    api: Status,
    given_token: bool,
    clock: Callable[[], float] = time.time,
) -> Iterator[Check]:
    """All checks of the API, each as soon as it is done; what a failed one makes pointless is skipped."""
    asked = clock()
    reached, answer = reach(url)
    yield reached
    if answer is None:
        yield from (skipped(name, "the API is not reached") for name in ("clock", "login", "group"))
        return
    yield check_clock(answer.headers.get("date", ""), (asked + clock()) / 2)
    if reached.mend:
        yield from (skipped(name, "the API does not answer as it should") for name in ("login", "group"))
        return
    let_in = check_login(auth, given_token)
    yield let_in
    yield skipped("group", "there is no login") if let_in.mend else check_group(api, given_token)


def reach(url: str) -> tuple[Check, Answer | None]:
    """Whether the API is there and answers as one; what it answered, if anything."""
    wire, answer = Wire(TIMEOUT), None
    try:
        answer = wire.send("GET", f"{url}/access_info", "GET /access_info")
        understood(answer)
    except Unreachable as error:
        words = str(error)
        mend = next((mend for sign, mend in _MENDS.items() if sign in words), "Check API_URL; try later.")
        return failed("API", f"{url} cannot be reached: {words.rpartition('): ')[2].rstrip('.')}", mend), None
    except ApiAnswer as error:
        mend = "Set API_URL to the address of the worker-facing API, with its path if it has one."
        if error.status >= 500:
            mend = "The service has trouble: try later, and tell those who run it if it stays so."
        return failed("API", str(error), mend), answer
    finally:
        wire.close()
    return ok("API", f"{url} answers"), answer


def check_clock(date: str, now: float) -> Check:
    """This machine's clock agrees with the API's. ``date`` is the header of its answer."""
    try:
        skew = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return skipped("clock", "the API does not say what time it has")
    if abs(skew) <= SKEW_SECONDS:
        return ok("clock", "agrees with the API's")
    which = "ahead of" if skew > 0 else "behind"
    return warning(
        "clock",
        f"{abs(skew):.0f} s {which} the API's",
        "Set this machine's clock, best by switching on its synchronisation (timedatectl set-ntp true).",
    )


def check_login(auth: Auth, given_token: bool) -> Check:
    """Name and password are accepted."""
    if given_token:
        return ok("login", "not needed: ACCESS_TOKEN is set")
    try:
        auth.token()
    except Unauthorized as error:
        mend = "Correct USERNAME and PASSWORD; try them out on the website."
        return failed("login", error.excerpt, mend)
    except ApiError as error:
        return failed("login", str(error), "Check that this machine reaches the Internet, and try again.")
    return ok("login", "the account is accepted")


def check_group(api: Status, given_token: bool) -> Check:
    """The account may work. 403: it is not in the group of workers; 401: in none, or not known."""
    join = "Ask those who run the service to put this account into the group 'workers'."
    try:
        api.job_status(NO_JOB)
    except NotFound:
        pass
    except Forbidden:
        return failed("group", "the account is not in the group 'workers' (403)", join)
    except Unauthorized:
        if given_token:
            mend = "Get a new token: they last about an hour; or set USERNAME and PASSWORD instead."
            return failed("group", "ACCESS_TOKEN is not accepted (401)", mend)
        return failed("group", "the account is in no group (401)", join)
    except ApiError as error:
        return warning("group", f"cannot be told: {error}", "The service has trouble: try later.")
    return ok("group", "the account may work")
