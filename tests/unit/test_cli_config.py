"""``config`` and ``hardware``: what is in force, where it came from, and no secret among it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.cli.care import shown
from jobfetcher.settings import Settings

NAMES = {name.upper() for name in Settings.model_fields}


def run(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """In ``folder``, with no setting but ``variables`` and its .env: exit code, output, complaints."""
    kept = {
        name: value for name, value in os.environ.items() if name.removeprefix("JOBFETCHER_") not in NAMES
    }
    command = [sys.executable, "-m", "jobfetcher", *arguments]
    done = subprocess.run(
        command, env={**kept, **variables}, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def config(folder: Path, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code, said, _ = run(folder, "config", "--json", **variables)
    return code, {row["name"]: row for row in json.loads(said)}


def test_each_setting_says_where_it_came_from(tmp_path: Path) -> None:
    """Environment, file or default, the name it was found under, and the value that is in force."""
    (tmp_path / ".env").write_text("USERNAME=lab\nPASSWORD=pass-phrase\nTIMOUT_STATUS=7\nGROUPS=a, b\n")

    code, rows = config(tmp_path, API_URL="http://h/api/", JOBFETCHER_LOG_LEVEL="debug", USERNAME="root")

    seen = {name: (row["value"], row["from"], row["variable"]) for name, row in rows.items()}
    assert (code, set(rows)) == (0, NAMES)
    assert seen["API_URL"] == ("http://h/api", "environment", "API_URL")
    assert seen["USERNAME"] == ("lab", ".env", "USERNAME")
    assert seen["TIMEOUT_STATUS"] == (7.0, ".env", "TIMOUT_STATUS")
    assert seen["LOG_LEVEL"] == ("DEBUG", "environment", "JOBFETCHER_LOG_LEVEL")
    assert seen["GROUPS"] == (["a", "b"], ".env", "GROUPS")
    assert seen["TIMEOUT_JOB"] == (10.0, "default", None)
    assert all(row["description"] for row in rows.values())


@pytest.mark.parametrize("as_json", [["--json"], []], ids=["json", "text"])
def test_no_secret_is_shown(tmp_path: Path, as_json: list[str]) -> None:
    """Password and token are masked, and so is a login in an address."""
    secrets = {"PASSWORD": "pass-phrase", "ACCESS_TOKEN": "the-token", "USERNAME": "lab"}
    secrets |= {"API_URL": "https://example.org/api", "COGNITO_URL": "https://me:hidden@example.org/login"}

    code, out, err = run(tmp_path, "config", *as_json, **secrets)

    assert (code, err) == (0, "")
    assert [word in out for word in ("pass-phrase", "the-token", "hidden", "me:")] == [False] * 4
    assert "https://***@example.org/login" in out


def test_settings_that_are_not_complete_are_shown_all_the_same(tmp_path: Path) -> None:
    """As they were written, masked; the complaint goes to stderr and the exit code is 2."""
    code, out, err = run(tmp_path, "config", "--json", TIMEOUT_JOB="soon", PASSWORD="pass-phrase")
    rows = {row["name"]: row["value"] for row in json.loads(out)}

    assert (code, rows["TIMEOUT_JOB"], rows["PASSWORD"], rows["API_URL"]) == (2, "soon", "***", None)
    assert ("API_URL is missing" in err, "pass-phrase" in out + err) == (True, False)


@pytest.mark.parametrize(
    ("value", "secret", "expected"),
    [
        ("x", True, "***"),
        (None, True, None),
        (5, False, 5),
        (("a",), False, ["a"]),
        ("a@b", False, "a@b"),
        ("postgresql://me:pw@host/db", False, "postgresql://***@host/db"),
    ],
)
def test_a_value_is_shown_as_what_it_is(value: object, secret: bool, expected: object) -> None:
    """Numbers stay numbers; only secrets are masked."""
    assert expected == shown(value, secret)


def test_hardware_is_what_the_api_is_told(tmp_path: Path) -> None:
    """With the settings' groups; and also before there are settings."""
    complete = {"API_URL": "http://h", "ACCESS_TOKEN": "t", "GROUPS": "a,b", "OLDER_THAN": "5"}
    told = json.loads(run(tmp_path, "hardware", "--json", **complete)[1])
    code, out, _ = run(tmp_path, "hardware")

    assert (told["offered"]["groups"], told["offered"]["older_than"]) == (["a", "b"], 5)
    assert told["has"]["memory"] >= told["has"]["available"] >= told["offered"]["memory"] > 0
    assert (code, "The API is told: memory=" in out) == (0, True)
