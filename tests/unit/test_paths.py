"""Nothing that a job names lies outside its folder, and what its command makes is left to the command."""

import json
import os
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from states.errors import JobFailed
from states.paths import MAX_PATH_BYTES, folders_to_make, inputs, inside, made_by_command, output_folders
from states.spec import JobSpec
from tests.fake_tools import READABLE
from tests.properties import calm

JOBS = Path(__file__).parent.parent / "data" / "jobs"

awkward = st.text(st.sampled_from("./a\0\n\\ ~#%ü\udc80"), max_size=12)
paths = st.text(max_size=40) | awkward | st.lists(awkward, max_size=6).map("/".join)


def a_spec(down: dict[str, str] | None = None, up: dict[str, str] | None = None, cmd: str = "") -> JobSpec:
    handler = {"image_url": "image:1", "files_down": down, "files_up": up}
    return JobSpec.parse("1", {**READABLE, "app": {"cmd": [cmd]}, "handler": handler})


def real(name: str) -> JobSpec:
    return JobSpec.parse("1", json.loads((JOBS / f"{name}.json").read_text())["job"])


@calm
@given(paths)
@pytest.mark.row(8)
def test_nothing_accepted_lies_outside(path: str) -> None:
    """Whatever ``inside`` lets through stays below the folder that it is joined to, as Linux reads it."""
    try:
        accepted = inside(path, "input path")
    except JobFailed:
        return
    joined = os.path.normpath("/base/job" / accepted)

    assert joined == "/base/job" or joined.startswith("/base/job/")


@calm
@given(paths)
def test_everything_accepted_can_be_a_files_name(path: str) -> None:
    """What is accepted holds no NUL, no ``.`` or ``..``, no empty or too long part, and is valid text."""
    try:
        parts = inside(path, "input path").parts
    except JobFailed:
        return

    assert [part for part in parts if part in {"", ".", ".."} or "\0" in part] == []
    assert [part for part in parts if len(part.encode()) > 255] == []


@calm
@given(paths)
def test_a_refusal_can_be_shown_to_the_owner(path: str) -> None:
    """The sentence names the path, is one short line, and can be sent as UTF-8 whatever the path holds."""
    try:
        inside(path, "input path")
    except JobFailed as refusal:
        sentence = str(refusal)

        assert re.fullmatch(r"The job's input path .* .*\.", sentence)
        assert "\0" not in sentence.encode().decode()


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("config/.", "config"),
        ("./data//x.tif", "data/x.tif"),
        ("a b/#1/ü.tif", "a b/#1/ü.tif"),
        ("%2e%2e/x", "%2e%2e/x"),
        ("..x/...", "..x/..."),
        ("line\nbreak", "line\nbreak"),
        ("~/x", "~/x"),
        ("a\\..\\b", "a\\..\\b"),
        ("n" * 255, "n" * 255),
        ("", "."),
    ],
    ids=repr,
)
def test_odd_but_legal_paths_are_made_plain(path: str, plain: str) -> None:
    """Linux knows two special names; everything else is a name like any other and stays as it is."""
    assert inside(path, "input path") == PurePosixPath(plain)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("..", "climbs out"),
        ("a/../../b", "climbs out"),
        ("a/..", "climbs out"),
        ("a\0b", "NUL"),
        ("n" * 256, "too long"),
        ("ü" * 128, "too long"),
        ("/".join(["n" * 200] * (MAX_PATH_BYTES // 200 + 1)), "too long"),
        ("a\udc80", "not valid text"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.row(8)
def test_bad_paths_are_refused_with_the_reason(path: str, why: str) -> None:
    """Each kind of bad path ends the job with a sentence that says what is wrong."""
    with pytest.raises(JobFailed, match=why):
        inside(path, "input path")


def test_inputs_are_plain_paths_to_file_ids() -> None:
    """``config/.`` is the file ``/files/config``; ids are kept to the letter."""
    spec = a_spec({"config/.": "/u/c#1.yaml", "data/a b.tif": "/u/a%20b.tif"})

    assert inputs(spec) == {
        PurePosixPath("config"): "/u/c#1.yaml",
        PurePosixPath("data/a b.tif"): "/u/a%20b.tif",
    }


def test_no_inputs_are_no_inputs() -> None:
    """A job may have no files at all."""
    assert inputs(a_spec(None)) == {}
    assert output_folders(a_spec(up=None)) == []


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (["config", "config/x"], "both a file and a folder"),
        (["a/b/c/d", "a/b"], "both a file and a folder"),
        (["config", "config/."], "the same path"),
        ([""], "not a file"),
        (["."], "not a file"),
        (["fine", "../not"], "climbs out"),
    ],
    ids=repr,
)
def test_inputs_that_cannot_lie_side_by_side_are_refused(keys: list[str], why: str) -> None:
    """A name cannot be a file twice, or file and folder at once; the job's folder is no file."""
    with pytest.raises(JobFailed, match=why):
        inputs(a_spec({key: f"/id/{key}" for key in keys}))


def test_one_name_may_begin_another() -> None:
    """``a.b`` beside ``a/b`` is no clash: parts are compared, not letters."""
    assert len(inputs(a_spec({"a/b": "1", "a.b": "2", "ab": "3"}))) == 3


def test_a_bad_output_folder_is_refused() -> None:
    """What would be uploaded from outside the job's folder is not."""
    with pytest.raises(JobFailed, match=r"output folder '\.\./\.\./etc' climbs out"):
        output_folders(a_spec(up={"output": "../../etc"}))


@pytest.mark.parametrize(
    "command",
    [
        "mkdir -p /files/x",
        "mkdir -pv /files/x",
        "mkdir -vp /files/x",
        "mkdir --parents /files/x",
        "mkdir -m 755 -p /files/x",
        "mkdir /files/x -p",
        "echo mkdir /files/x",
        "mymkdir /files/x",
        "mkdir /elsewhere/x",
        "mkdir x",
        "mkdir",
        "mkdir 'unbalanced /files/x",
        "",
    ],
)
def test_no_plain_mkdir_is_seen_where_there_is_none(command: str) -> None:
    """``-p`` in all its spellings is content with a folder that exists, so the worker makes it."""
    assert made_by_command(command) == set()


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("mkdir /files/x", {"x"}),
        ("  mkdir   /files/x/  && y", {"x"}),
        ("mkdir -m 755 /files/x", {"x"}),
        ("mkdir --mode=755 -v /files/x", {"x"}),
        ("mkdir /files/x /files/y/z /tmp/t", {"x", "y/z"}),
        ("a && mkdir /files/x", {"x"}),
        ("a; mkdir /files/x; b", {"x"}),
        ("a || mkdir /files/x", {"x"}),
        ("(mkdir /files/x)", {"x"}),
        ("if a; then mkdir /files/x; fi", {"x"}),
        ("for i in 1; do mkdir /files/x; done", {"x"}),
        ("mkdir -p /files/p && mkdir /files/x", {"x"}),
        ("mkdir /files/x && mkdir /files/y", {"x", "y"}),
        ("mkdir '/files/a b' \"/files/c d\"", {"a b", "c d"}),
        ("mkdir /files/x 2>/dev/null", {"x"}),
        ("mkdir -- /files/x", {"x"}),
    ],
)
def test_a_plain_mkdir_is_seen_wherever_it_stands(command: str, made: set[str]) -> None:
    """At the beginning, after an operator, with several folders, quoted: the shell would run it."""
    assert made_by_command(command) == {PurePosixPath(path) for path in made}


@calm
@given(
    st.text(max_size=60).map("mkdir {}".format)
    | st.text(st.sampled_from("mkdir /files&;|'\"-p\n"), max_size=40)
)
def test_no_command_upsets_the_reading(command: str) -> None:
    """Whatever stands in a command, reading it yields paths or nothing, never an error."""
    assert all(isinstance(path, PurePosixPath) for path in made_by_command(command))


@pytest.mark.parametrize(
    ("command", "folders", "to_make"),
    [
        ("mkdir /files/output &&", ["output"], []),
        ("mkdir /files/output &&", ["output/deeper"], []),
        ("mkdir /files/output/deeper &&", ["output"], ["output"]),
        ("mkdir /files/out &&", ["output"], ["output"]),
        ("mkdir -p /files/output &&", ["output"], ["output"]),
        ("run", ["./output/."], ["output"]),
    ],
)
def test_the_worker_makes_what_the_command_does_not(
    command: str, folders: list[str], to_make: list[str]
) -> None:
    """A folder made beforehand would stop a plain ``mkdir`` with "File exists"; so would its parent's."""
    kinds = ["output", "log", "artifact"]
    spec = a_spec(up=dict(zip(kinds, folders, strict=False)), cmd=command)

    assert folders_to_make(spec) == [PurePosixPath(path) for path in to_make]


@pytest.mark.parametrize(
    ("name", "to_make"),
    [
        ("comet-latest-run", {"log", "output"}),
        ("decode-latest-train", {"log", "model"}),
        ("decode-v0_10_1-fit", set()),
        ("decode-v0_10_1-train", {"log", "model"}),
    ],
)
def test_real_jobs_find_the_folders_they_expect(name: str, to_make: set[str]) -> None:
    """Real specifications are admitted, and only the fit, which makes its own folder, gets none."""
    spec = real(name)

    assert {str(path) for path in folders_to_make(spec)} == to_make
    assert len(inputs(spec)) == len(spec.handler.files_down or {})
