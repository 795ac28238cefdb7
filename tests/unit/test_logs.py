"""The log: fields, both formats, and no secret in any line."""

import ast
import io
import json
import logging
from pathlib import Path

import pytest

import jobfetcher
from jobfetcher import logs


def lines(style: str, secrets: tuple[str, ...] = ()) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logs.configure("INFO", style, secrets, stream)
    return logging.getLogger("jobfetcher.test"), stream


def test_json_lines_carry_event_and_fields() -> None:
    """Outside a terminal a line is one JSON object with the job it is about."""
    log, stream = lines("auto")

    with logs.about(job_id="7"):
        log.info("job.moved", extra={"state": "running"})

    line = json.loads(stream.getvalue())
    assert (line["event"], line["job_id"], line["state"]) == ("job.moved", "7", "running")


def test_people_read_one_line() -> None:
    """On a terminal a line is text, with the fields behind the event."""
    log, stream = lines("human")

    log.warning("job.paused", extra={"reason": "the API is away"})

    assert stream.getvalue().endswith("WARNING job.paused  reason=the API is away\n")


def test_secrets_and_query_strings_are_masked_even_in_tracebacks() -> None:
    """A secret in an exception's text does not reach the log, nor does a presigned query."""
    for style in ("human", "json"):
        log, stream = lines(style, ("s3cret",))
        try:
            raise ValueError("token s3cret at https://bucket/key?X-Amz-Signature=abc")
        except ValueError:
            log.exception("it.failed", extra={"header": "Bearer s3cret"})

        assert "s3cret" not in stream.getvalue()
        assert "X-Amz-Signature" not in stream.getvalue()
        assert "https://bucket/key?***" in stream.getvalue()


@pytest.mark.parametrize("style", ["human", "json"])
def test_what_a_job_names_commands_no_terminal(style: str) -> None:
    """Escape sequences and line breaks from outside are written as escapes; a line stays one line."""
    log, stream = lines(style)

    log.warning("pull.failed", extra={"image": "a\x1b[2J\x9b\u202e\nWARNING b ü"})

    written = stream.getvalue()
    assert written.count("\n") == 1
    assert "a\\u001b[2J\\u009b\\u202e\\nWARNING b ü" in written
    assert style != "json" or json.loads(written)["image"] == "a\x1b[2J\x9b\u202e\nWARNING b ü"


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_secret_is_masked_however_it_is_written(style: str) -> None:
    """A password with a quote, a backslash or a control character is masked in both formats."""
    log, stream = lines(style, ('pa"ss', "w\\rd", "ta\tb"))

    log.warning("login.failed", extra={"reason": 'pa"ss w\\rd ta\tb'})

    assert "*** *** ***" in stream.getvalue()


def test_no_field_has_a_name_that_logging_keeps_for_itself() -> None:
    """``extra`` with a reserved name raises at the worst moment: when something is to be logged."""
    reserved = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    found = []
    for path in Path(jobfetcher.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                keys = {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
                found += [(path.name, key) for key in keys & reserved]

    assert found == []
