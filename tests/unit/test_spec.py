"""A specification is read with patience: nothing is lost, nothing raises, what is wrong is said."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from states.job import Job
from states.spec import FileType, JobSpec
from tests.fake_tools import READABLE
from tests.properties import calm

JOBS = Path(__file__).parent.parent / "data" / "jobs"
NAMES = ["comet-latest-run", "decode-latest-train", "decode-v0_10_1-fit", "decode-v0_10_1-train"]

atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
garbage = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
parts = {name: garbage | st.just(READABLE[name]) for name in READABLE}


def real(name: str) -> dict[str, Any]:
    job: dict[str, Any] = json.loads((JOBS / f"{name}.json").read_text())["job"]
    return job


def with_part(section: str, **fields: object) -> dict[str, Any]:
    raw = copy.deepcopy(READABLE)
    raw[section] = {**raw[section], **fields}  # type: ignore[dict-item] # whatever a test needs
    return raw


def slug(spec: JobSpec) -> str:
    return Job(key=1, worker="w", spec=spec).slug


@pytest.mark.parametrize("name", NAMES)
def test_real_specifications_are_read_whole(name: str) -> None:
    """What the real service sends is understood, and comes back out as it went in."""
    raw = real(name)
    spec = JobSpec.parse("12", raw)

    assert (spec.id, spec.problem) == ("12", None)
    assert spec.model_dump(mode="json", exclude={"id", "problem", "unreadable"}) == raw


def test_the_command_is_the_fragments_joined_with_spaces() -> None:
    """Fragments are no arguments: quoting and operators in them are the shell's business."""
    command = JobSpec.parse("1", real("decode-v0_10_1-fit")).command

    assert command is not None
    assert command.startswith("mkdir /files/output && /docker/entrypoint.sh --fit --frame_path=$(find ")


def test_no_command_is_the_images_own() -> None:
    """Null is not an empty command."""
    assert JobSpec.parse("1", with_part("app", cmd=None)).command is None
    assert JobSpec.parse("1", with_part("app", cmd=[])).command == ""


def test_the_kinds_of_upload_are_typed() -> None:
    """Each folder goes up as what the job says it is."""
    up = JobSpec.parse("1", real("comet-latest-run")).handler.files_up

    assert up == {FileType.LOG: "log", FileType.OUTPUT: "output"}


def test_unknown_fields_are_kept_everywhere() -> None:
    """Tomorrow's fields survive reading, at the top and inside each section."""
    raw: dict[str, Any] = {**copy.deepcopy(READABLE), "new": {"deep": [1, None]}}
    for section in READABLE:
        raw[section]["later"] = {"a": [section]}
    spec = JobSpec.parse("1", raw)
    kept = json.loads(spec.model_dump_json())

    assert spec.problem is None
    assert kept["new"] == {"deep": [1, None]}
    assert {name: kept[name]["later"] for name in READABLE} == {name: {"a": [name]} for name in READABLE}


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("app", "cmd"),
        ("app", "env"),
        ("handler", "files_down"),
        ("handler", "files_up"),
        ("handler", "image_name"),
        ("handler", "image_version"),
        ("handler", "entrypoint"),
        ("hardware", "cpu_cores"),
        ("hardware", "memory"),
        ("hardware", "gpu_model"),
        ("hardware", "gpu_archi"),
        ("hardware", "gpu_mem"),
    ],
)
def test_what_may_be_null_may_also_be_missing(section: str, field: str) -> None:
    """Null and absent are the same, and neither is a problem."""
    null = JobSpec.parse("1", with_part(section, **{field: None}))
    raw = copy.deepcopy(READABLE)
    raw[section].pop(field, None)  # type: ignore[attr-defined] # the sections are dicts
    absent = JobSpec.parse("1", raw)

    assert (null.problem, absent.problem) == (None, None)
    assert getattr(getattr(null, section), field) is getattr(getattr(absent, section), field) is None


def test_numbers_in_the_environment_become_text() -> None:
    """``{"EPOCHS": 3}`` is what people write; the container gets "3"."""
    assert JobSpec.parse("1", with_part("app", env={"EPOCHS": 3, "RATE": 0.5})).app.env == {
        "EPOCHS": "3",
        "RATE": "0.5",
    }


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ("text", "not an object"),
        ({}, "app: is missing, handler: is missing, meta: is missing, hardware: is missing"),
        ({**READABLE, "app": None}, "app: "),
        ({**READABLE, "handler": {}}, "handler.image_url: "),
        (with_part("app", cmd="a string"), "app.cmd: "),
        (with_part("app", cmd=[["nested"]]), "app.cmd.0: "),
        (with_part("handler", files_up={"results": "x"}), "handler.files_up.results"),
        (with_part("handler", files_down={"a": None}), "handler.files_down.a: "),
        (with_part("hardware", memory="much"), "hardware.memory: "),
        (with_part("meta", job_id="x"), "meta.job_id: "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_is_said_and_kept(raw: object, says: str) -> None:
    """The owner reads where it is wrong; what was sent is kept whole."""
    spec = JobSpec.parse("9", raw)

    assert (spec.id, spec.unreadable) == ("9", raw)
    assert says in (spec.problem or "")
    assert re.fullmatch(r"The job's specification .*\.", spec.problem or "", re.DOTALL)


@calm
@given(garbage)
def test_arbitrary_json_never_raises(raw: object) -> None:
    """Garbage of every kind becomes a specification with a problem, a lease and a name."""
    spec = JobSpec.parse("1", raw)

    assert spec.problem
    assert spec.lease.startswith("1/unreadable/")
    assert slug(spec)


@calm
@given(st.fixed_dictionaries(parts))
def test_garbage_in_a_section_never_raises(raw: dict[str, object]) -> None:
    """A section that is wrong leads to a problem; one that is right by chance does not."""
    spec = JobSpec.parse("1", raw)

    assert slug(spec)
    assert (spec.problem is None) == (spec.unreadable is None)


def test_the_payload_cannot_speak_for_the_reader() -> None:
    """Fields named like our own (``id``, ``problem``) are not taken from what was sent."""
    spec = JobSpec.parse("1", {**READABLE, "id": "2", "problem": "none of yours", "unreadable": 3})

    assert (spec.id, spec.problem, spec.unreadable) == ("1", None, None)


@pytest.mark.parametrize("text", ["\ud800", "a\udc80b"], ids=ascii)
def test_half_a_character_is_a_problem_not_a_crash(text: str) -> None:
    """JSON can carry a lone surrogate: the job fails with a sentence, it does not stop the worker."""
    sent: list[object] = [{**READABLE, "new": text}, with_part("meta", date_created=text), text]
    specs = [JobSpec.parse("1", raw) for raw in sent] + [JobSpec.parse(text, READABLE)]

    assert [spec.problem is None for spec in specs] == [False] * len(specs)
    assert [bool(slug(spec) and spec.model_dump_json()) for spec in specs] == [True] * len(specs)


def test_a_reused_id_is_another_lease() -> None:
    """The API gives a deleted job's id to the next one: number and date tell them apart."""
    specs = [
        JobSpec.parse("1", with_part("meta", **meta))
        for meta in ({}, {"job_id": 8}, {"date_created": "2026-03-01T09:30:01"})
    ]

    assert len({spec.lease for spec in specs}) == len({slug(spec) for spec in specs}) == 3


def test_the_same_lease_delivered_again_is_the_same() -> None:
    """The rest of the specification is not part of the lease."""
    again = JobSpec.parse("1", {**with_part("app", cmd=["other"]), "new": 1})

    assert again.lease == JobSpec.parse("1", READABLE).lease


def test_unreadable_specifications_differ_by_what_was_sent() -> None:
    """Two broken jobs with one id are two leases; the same one sent again is one."""
    first, second, again = (JobSpec.parse("1", raw) for raw in ({"a": 1, "b": 2}, {"a": 2}, {"b": 2, "a": 1}))

    assert first.lease == again.lease != second.lease


@calm
@given(st.text(max_size=300))
def test_the_slug_is_a_safe_name_for_any_id(job_id: str) -> None:
    """It can be a folder's and, within the run's name, a container's name, and it is short."""
    job = Job(key=1, worker="lab-1", spec=JobSpec.parse(job_id, READABLE), delivery=3)

    assert re.fullmatch(r"[A-Za-z0-9_]{1,32}-[0-9a-f]{8}-3", job.slug)
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}", job.run_name)


@calm
@given(st.lists(st.text(max_size=50), unique=True, min_size=2, max_size=5))
def test_different_ids_have_different_slugs(ids: list[str]) -> None:
    """Ids that look alike once made safe do not share a folder."""
    assert len({slug(JobSpec.parse(job_id, READABLE)) for job_id in ids}) == len(ids)


def test_a_new_delivery_has_a_name_of_its_own() -> None:
    """A lease that was taken away and came back shares neither folder nor container with before."""
    job = Job(key=1, worker="w", spec=JobSpec.parse("1", READABLE))
    again = job.model_copy(update={"delivery": 2})

    assert again.slug == f"{job.slug}-2"
