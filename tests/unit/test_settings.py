"""Settings: where they come from, and what a person reads when they are wrong."""

from pathlib import Path

import pytest

from jobfetcher import settings
from jobfetcher.environment import Misread, folder_at, lookup, read_env_file

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
            {**TOKEN, "SHM_SIZE": "99999999999999999999"},
            "SHM_SIZE (environment): must be less than or equal to 16777216",
            id="more memory than any machine has",
        ),
        pytest.param(
            {**TOKEN, "RUNNER": "podman"}, "RUNNER (environment): must be 'docker' or 'process'", id="choice"
        ),
        pytest.param(
            {**TOKEN, "ACCESS_TOKEN": "a\nb"},
            "ACCESS_TOKEN (environment): has a blank",
            id="break",
        ),
        pytest.param(
            {**TOKEN, "ACCESS_TOKEN": "t€n"},
            "ACCESS_TOKEN (environment): has a blank",
            id="euro",
        ),
        pytest.param({**TOKEN, "API_URL": "https://"}, "API_URL (environment): names no host", id="no host"),
        pytest.param(
            {**TOKEN, "API_URL": "http://api.example:port"}, "API_URL (environment): names no host", id="port"
        ),
        pytest.param(
            {**TOKEN, "API_URL": "http://api example"}, "API_URL (environment): names no host", id="blank"
        ),
        pytest.param(
            {**TOKEN, "API_URL": "http://api/?x"}, "API_URL (environment): must be nothing but", id="query"
        ),
        pytest.param(
            {**TOKEN, "DATABASE_URL": "mysql://u@h/x"},
            "DATABASE_URL (environment): must name a SQLite file",
            id="database",
        ),
    ],
)
def test_a_wrong_value_is_named(environ: dict[str, str], expected: str) -> None:
    """The message names the variable, where it was set, and what it is for."""
    with pytest.raises(settings.SettingsError) as caught:
        load(environ)

    assert expected in str(caught.value)


def test_a_scheme_may_be_in_capitals_and_the_address_may_have_a_path() -> None:
    """An address is taken as people write it, with no slash at its end."""
    assert load({**TOKEN, "API_URL": "HTTPS://Api.example/wf/"}).api_url == "https://Api.example/wf"


def test_a_password_in_a_wrong_address_is_in_no_message() -> None:
    """What is wrong with DATABASE_URL or API_URL is said without the login in it."""
    for name in ("DATABASE_URL", "API_URL"):
        with pytest.raises(settings.SettingsError) as caught:
            load({**TOKEN, name: "http://user:hidden@host/x"})

        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"PASSWORD=\xff\xfe", "is not UTF-8 text", id="bytes"),
        pytest.param("PASSWORD=x".encode("utf-16"), "is not UTF-8 text", id="utf-16"),
    ],
)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    """A .env file that cannot be read ends in a sentence."""
    (tmp_path / ".env").write_bytes(content)

    with pytest.raises(Misread) as caught:
        read_env_file(tmp_path / ".env")

    assert expected in str(caught.value)


def test_what_the_system_says_of_the_file_is_in_the_sentence(tmp_path: Path) -> None:
    """No such file is no trouble; one that cannot be looked at is, with the reason."""
    (tmp_path / "folder").write_text("")

    assert read_env_file(tmp_path / "folder" / ".env") == {}
    with pytest.raises(Misread) as caught:
        read_env_file(tmp_path / ("x" * 300))

    assert "file name too long" in str(caught.value)


def test_a_home_that_nobody_has_is_said() -> None:
    """~name of nobody is no folder, and no traceback."""
    with pytest.raises(Misread) as caught:
        folder_at("~nobody-of-that-name/x")

    assert "'~nobody-of-that-name/x'" in str(caught.value)
    with pytest.raises(settings.SettingsError):
        load({**TOKEN, "PATH_BASE": "~nobody-of-that-name/x"})


def test_a_folder_whose_database_would_lie_elsewhere_is_refused() -> None:
    """What follows a '?' is no part of the database's address: two folders would share one file."""
    with pytest.raises(settings.SettingsError) as caught:
        load({**TOKEN, "PATH_BASE": "/data/a?b"})

    assert "The folder '/data/a?b' has a '?' in its name" in str(caught.value)


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
