"""The images that our pulls have brought: kept account of, and removed where the disk fills up."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.disk import Disk
from jobfetcher.room import Room
from jobfetcher.runners.engine import Conflict, NotThere
from jobfetcher.runners.shelf import Shelf
from persistence.images import PulledImages
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Job
from states.spec import JobSpec

SIZE = 100
BASE, ROOT = Path("/base"), Path("/root-of-engine")


class FakeEngine:
    """Images by id, each with its names; 100 bytes each."""

    def __init__(self, **images: list[str]) -> None:
        self.images = images
        self.in_use: set[str] = set()
        self.away = False

    def local_images(self) -> list[str]:
        if self.away:
            raise Paused("The engine is away.")
        return list(self.images)

    def image(self, name: str) -> dict[str, Any] | None:
        for key, names in self.images.items():
            if name == key or name in names:
                return {"Id": key, "RepoTags": names}
        return None

    def remove_image(self, name: str) -> None:
        found = self.image(name)
        if found is None:
            raise NotThere("no such image", 404)
        key = found["Id"]
        names = [one for one in self.images[key] if one != name]
        if not names and key in self.in_use:
            raise Conflict("a container uses it", 409)
        if names:
            self.images[key] = names
        else:
            del self.images[key]


class World:
    """A shelf over a real table, with a disk that images fill."""

    def __init__(self, pulled: PulledImages, tick: Callable[[], None]) -> None:
        self.pulled = pulled
        self.tick = tick
        self.engine = FakeEngine()
        self.live: list[Job] = []
        self.root: Path | None = ROOT
        self.same_disk = False
        self.elsewhere = 10_000
        """Bytes free on the disk of the worker's folder, where images lie on another one."""
        self.size = 1000
        """Bytes of the disk with the images."""

    def free(self, path: Path) -> int:
        if path == BASE and not self.same_disk:
            return self.elsewhere
        return self.size - SIZE * len(self.engine.images)

    def shelf(self, least: int = 800) -> Shelf:
        room = Room(BASE, least, self.free)
        disk = Disk(
            room, BASE, least, lambda: self.root, self.free, lambda path: 1 if self.same_disk else hash(path)
        )
        return Shelf(self.engine, self.pulled, lambda: self.live, disk)

    def pull(self, key: str, name: str) -> None:
        """A job's pull brings an image, a while after the one before."""
        shelf = self.shelf(least=0)
        before = shelf.before_layers() if key not in self.engine.images else None
        self.engine.images.setdefault(key, []).append(name)
        shelf.arrived(key, name, before)
        self.tick()

    def known(self) -> list[str]:
        return [image.image_id for image in self.pulled.oldest_first()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    now = [1000.0]

    def tick() -> None:
        now[0] += 1

    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", clock=lambda: now[0]) as store:
        yield World(store.images, tick)


def a_job(image: str, image_id: str | None = None) -> Job:
    spec = JobSpec.model_validate({"id": "1", "handler": {"image_url": image}})
    return Job(key=1, worker="w", spec=spec).with_facts(image_id=image_id)


@pytest.mark.row(9)
def test_those_that_no_job_wanted_for_longest_go_first(world: World) -> None:
    """And no more of them than needed; then there is room."""
    for key in "abcd":
        world.pull(key, f"{key}:1")
    world.pull("a", "a:1")

    assert world.shelf(least=750).make_room() == ""
    assert (sorted(world.engine.images), world.known()) == (["a", "d"], ["d", "a"])


def test_each_removal_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which image went, and how many bytes came free."""
    caplog.set_level(logging.INFO, "jobfetcher")
    world.pull("a", "a:1")

    world.shelf(least=1000).make_room()

    [record] = caplog.records
    assert (record.message, record.__dict__["image"], record.__dict__["bytes"]) == (
        "image.removed",
        "a:1",
        100,
    )


@pytest.mark.parametrize(
    "job", [a_job("a:1"), a_job("b:2", image_id="a")], ids=["that its specification names", "that it runs"]
)
def test_the_image_of_a_live_job_stays(world: World, job: Job) -> None:
    """Whether it runs already or has yet to begin. Then the sentence says that there is too little."""
    world.pull("a", "a:1")
    world.live = [job]

    assert world.shelf(least=1000).make_room() == (
        "No space left on the Docker engine's disk: 900 B are free in /root-of-engine, "
        "1000 B must stay free (MIN_FREE_DISK)."
    )
    assert (list(world.engine.images), world.known()) == (["a"], ["a"])


def test_without_a_tag_the_latest_is_meant(world: World) -> None:
    """A live job that names no tag keeps the image that was pulled as the latest."""
    world.pull("a", "a:latest")
    world.live = [a_job("a")]
    world.shelf(least=1000).make_room()

    assert list(world.engine.images) == ["a"]


def test_what_a_container_uses_stays(world: World) -> None:
    """The engine refuses; the next one is tried instead, and the first again later."""
    world.pull("a", "a:1")
    world.pull("b", "b:1")
    world.engine.in_use = {"a"}
    world.shelf(least=1000).make_room()
    kept = list(world.engine.images)
    world.engine.in_use = set()
    world.shelf(least=1000).make_room()

    assert (kept, world.engine.images) == (["a"], {})


def test_what_was_there_before_is_not_ours(world: World) -> None:
    """Neither an image of the engine's owner, nor what of it our pull gave another name."""
    world.engine.images = {"theirs": ["mine:1"]}
    shelf = world.shelf(least=0)
    before = shelf.before_layers()
    world.engine.images["theirs"].append("pulled:1")
    shelf.arrived("theirs", "pulled:1", before)
    world.shelf(least=1000).make_room()

    assert (world.engine.images, world.known()) == ({"theirs": ["mine:1", "pulled:1"]}, [])


def test_all_our_names_of_an_image_go(world: World) -> None:
    """``latest`` and a version may be the same image; it goes with its last name."""
    world.pull("a", "a:1")
    world.pull("a", "a:latest")

    assert world.shelf(least=1000).make_room() == ""
    assert world.engine.images == {}


def test_a_name_of_somebody_else_stays(world: World) -> None:
    """Our name goes, theirs keeps the image, and it is no longer ours to remove."""
    world.pull("a", "a:1")
    world.engine.images["a"].append("theirs:1")
    world.shelf(least=1000).make_room()

    assert (world.engine.images, world.known()) == ({"a": ["theirs:1"]}, [])


def test_an_image_whose_tag_has_moved_goes_by_its_id(world: World) -> None:
    """The newer one of that tag, which a live job needs, stays."""
    world.pull("old", "a:1")
    world.engine.images["old"] = []
    world.pull("new", "a:1")
    world.live = [a_job("b:1", image_id="new")]
    world.shelf(least=1000).make_room()

    assert world.engine.images == {"new": ["a:1"]}


def test_one_that_somebody_removed_is_forgotten(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Without a word, as it frees nothing."""
    caplog.set_level(logging.INFO, "jobfetcher")
    world.pull("a", "a:1")
    world.pull("b", "b:1")
    del world.engine.images["a"]
    world.shelf(least=1000).make_room()

    assert ([record.__dict__["image"] for record in caplog.records], world.known()) == (["b:1"], [])


def test_images_on_another_disk_are_not_in_the_way(world: World) -> None:
    """They stay where the worker's folder lies on a disk of its own and that is full."""
    world.pull("a", "a:1")
    world.elsewhere = 10

    said = world.shelf(least=500).make_room()

    assert said.startswith("No space left on the worker's disk: 10 B are free")
    assert list(world.engine.images) == ["a"]


def test_on_one_disk_images_give_way_to_jobs(world: World) -> None:
    """Engine and folder share it, as on most machines."""
    world.pull("a", "a:1")
    world.same_disk = True

    assert (world.shelf(least=1000).make_room(), world.engine.images) == ("", {})


@pytest.mark.parametrize(("same_disk", "left"), [(True, []), (False, ["b"])])
def test_where_the_engine_s_disk_cannot_be_seen_it_is_tried(
    world: World, same_disk: bool, left: list[str]
) -> None:
    """As long as removing images frees something where the folder lies: a worker in a container."""
    world.pull("a", "a:1")
    world.pull("b", "b:1")
    world.root = None
    world.same_disk = same_disk
    world.elsewhere = 10
    world.shelf(least=1000).make_room()

    assert list(world.engine.images) == left


def test_an_engine_that_does_not_answer_costs_no_pull(world: World) -> None:
    """Then what comes counts as having been there: it is never removed."""
    world.engine.away = True
    shelf = world.shelf(least=0)
    before = shelf.before_layers()
    shelf.arrived("a", "a:1", before)

    assert world.known() == []


def test_what_a_job_wants_again_is_kept_longer(world: World) -> None:
    """A job that finds its image whole moves it to the end, also if it pulls nothing."""
    world.pull("a", "a:1")
    world.pull("b", "b:1")
    world.shelf(least=0).arrived("a", "a:1", None)

    assert world.known() == ["b", "a"]


def test_a_folder_of_the_engine_that_cannot_be_seen_is_none_at_all(tmp_path: Path) -> None:
    """A worker in a container, or one that may not look there, goes by its own folder's disk."""
    disk = Disk(Room(tmp_path), tmp_path, 0, lambda: tmp_path / "not-here")

    assert (disk.shows_images, disk.shortage(), disk.free_for_images() > 0) == (False, "", True)
