"""Settings: where they come from, and what a person reads when they are wrong."""

from pathlib import Path

import pytest

from jobfetcher import settings
from jobfetcher.environment import lookup

TOKEN = {"API_URL": "http://api:8000", "ACCESS_TOKEN": "s3cret-token"}


def load(environ: dict[str, str], env_file: dict[str, str] | None = None) -> settings.Settings:
    return settings.load(environ, env_file or {})


def test_the_existing_workers_file_works_unchanged() -> None:
    """The variables of the existing worker's .env are all that is needed."""
    env_file = {
        "API_URL": "https://api.example.org:443",
        "ACCESS_TOKEN": "",
        "USERNAME": "lab",
        "PASSWORD": "hidden",
        "PATH_HOST_BASE": "/dir/on/host",
        "TIMEOUT_JOB": "30",
        "TIMEOUT_STATUS": "20",
    }

    found = load({}, env_file)

    assert found.access_token is None
    assert (found.username, found.timeout_job, found.timeout_status) == ("lab", 30, 20)
    assert found.path_base == Path("~/temp/decode_cloud/mounts").expanduser()
    assert found.path_host_base == Path("/dir/on/host")


def test_the_file_beats_a_login_shells_variable() -> None:
    """USERNAME of the login shell does not replace the account in .env."""
    found = lookup("USERNAME", {"USERNAME": "root"}, {"USERNAME": "lab"})

    assert found is not None
    assert (found.value, found.origin) == ("lab", "USERNAME (.env)")


@pytest.mark.parametrize(
    ("environ", "env_file", "expected"),
    [
        pytest.param({"JOBFETCHER_USERNAME": "a", "USERNAME": "b"}, {"USERNAME": "c"}, "a", id="environment"),
        pytest.param({"USERNAME": "b"}, {"JOBFETCHER_USERNAME": "a", "USERNAME": "c"}, "a", id="file"),
        pytest.param({"JOBFETCHER_USERNAME": "  "}, {"USERNAME": "c"}, "c", id="empty counts as unset"),
    ],
)
def test_the_prefix_wins(environ: dict[str, str], env_file: dict[str, str], expected: str) -> None:
    """JOBFETCHER_X wins over X, wherever either is set; an empty value is no value."""
    found = lookup("USERNAME", environ, env_file)

    assert found is not None
    assert expected == found.value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("/dir/on/host # e.g. /srv", "/dir/on/host", id="comment"),
        pytest.param('"/with blank"', "/with blank", id="quotes"),
        pytest.param("'/data'  # here", "/data", id="both"),
        pytest.param("/data#1", "/data#1", id="part of the name"),
        pytest.param("# nothing yet", None, id="nothing but a comment"),
    ],
)
def test_what_dockers_env_file_leaves_in_a_value_is_dropped(written: str, expected: str | None) -> None:
    """``docker run --env-file`` hands comments and quotes over as part of the value."""
    found = lookup("PATH_HOST_BASE", {"PATH_HOST_BASE": written}, {})

    assert expected == (found.value if found else None)


def test_nothing_is_cut_out_of_a_secret() -> None:
    """A password may contain anything."""
    found = lookup("PASSWORD", {"PASSWORD": "\"a #b'"}, {})

    assert found is not None
    assert found.value == "\"a #b'"


def test_the_spelling_of_the_existing_readme_is_understood() -> None:
    """TIMOUT_STATUS, as the existing worker's README has it, sets TIMEOUT_STATUS."""
    assert load({**TOKEN, "TIMOUT_STATUS": "17"}).timeout_status == 17
    assert load({**TOKEN, "TIMOUT_STATUS": "17", "TIMEOUT_STATUS": "18"}).timeout_status == 18


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, "API_URL is missing", id="nothing set"),
        pytest.param(
            {"API_URL": "http://x"}, "Set ACCESS_TOKEN, or both USERNAME and PASSWORD", id="no login"
        ),
        pytest.param(
            {**TOKEN, "API_URL": "api:8000"}, "API_URL (environment): must start with http", id="url"
        ),
        pytest.param({**TOKEN, "TIMEOUT_JOB": "soon"}, "TIMEOUT_JOB (environment): ", id="no number"),
        pytest.param(
            {**TOKEN, "TIMEOUT_STATUS": "200"}, "TIMEOUT_STATUS (environment): ", id="over half a lease"
        ),
        pytest.param(
            {**TOKEN, "RUNNER": "podman"}, "RUNNER (environment): 'docker' or 'process'", id="choice"
        ),
    ],
)
def test_a_wrong_value_is_named(environ: dict[str, str], expected: str) -> None:
    """The message names the variable, where it was set, and what it is for."""
    with pytest.raises(settings.SettingsError) as caught:
        load(environ)

    assert expected in str(caught.value)


def test_secrets_are_in_no_message() -> None:
    """Neither the settings' text nor an error about them shows a secret."""
    shown = repr(load({**TOKEN, "PASSWORD": "pass-phrase"}))
    with pytest.raises(settings.SettingsError) as caught:
        load({**TOKEN, "PASSWORD": "pass-phrase", "TIMEOUT_JOB": "x"})

    for secret in ("s3cret-token", "pass-phrase"):
        assert secret not in shown
        assert secret not in str(caught.value)


def test_lists_are_split_at_commas() -> None:
    """ALLOWED_IMAGES and GROUPS are lists separated by commas."""
    found = load({**TOKEN, "ALLOWED_IMAGES": "a/*, b:1", "GROUPS": "lab"})

    assert (found.allowed_images, found.groups) == (("a/*", "b:1"), ("lab",))


def test_the_readme_names_every_setting() -> None:
    """Nothing can be set that the README does not explain, except what is for tests."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()

    missing = [name for name in settings.Settings.model_fields if f"`{name.upper()}`" not in readme]

    assert missing == ["cognito_url"]
