"""``top``: what it shows of a worker, running or not, in any terminal; and what its keys do."""

import asyncio
import fcntl
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import Static

from jobfetcher.cli.look import Unanswerable
from jobfetcher.cli.top import rows, words
from jobfetcher.cli.top.app import TopApp
from jobfetcher.cli.top.header import Gauges, head
from jobfetcher.cli.top.logtail import LogTail
from jobfetcher.cli.top.machine import Machine
from jobfetcher.cli.top.orders import Orders
from jobfetcher.cli.top.screens import Live, Question
from jobfetcher.cli.top.snapshot import Lookout, Snapshot
from jobfetcher.cli.top.tables import LiveTable, padded
from persistence.reader import AT_WORK, LATELY_ENDED, open_reader
from persistence.store import SqlStore
from states.job import Job, JobState, Run
from states.table import LIVE
from tests.store_life import brought_to, spec

NOW = 1_800_000_000.0
DEADLINE = 30.0
METER = {
    "phase": "download",
    "done": 5 << 20,
    "total": 20 << 20,
    "files": 1,
    "files_total": 3,
    "rate": 2.0 * (1 << 20),
    "seconds_left": 7.5,
}
REPORT: dict[str, Any] = {
    "worker": "a1b2",
    "version": "0.1.0",
    "started_at": NOW - 7500,
    "at": NOW - 1,
    "runner": "docker",
    "places": 2,
    "api": {"url": "https://api.example.org", "ok": True, "at": NOW - 3, "error": ""},
    "engine": {"ok": True, "at": NOW - 65, "error": ""},
    "jobs": {},
}
App = TopApp
Story = Callable[["Pilot[None]", App], Awaitable[None]]


class Scene:
    """A worker's folder, and everything that is handed to 'top'."""

    def __init__(self, base: Path, store: SqlStore) -> None:
        self.base = base
        self.store = store
        self.report: dict[str, Any] | None = None
        self.ordered: list[str] = []

    def add(self, number: int, state: JobState, detail: str = "") -> Job:
        return brought_to(self.store, self.store.add(spec(number)), state, detail=detail)

    def lookout(self, file: str = "jobfetcher.db") -> Lookout:
        machine = Machine(self.base, gpus=tuple, proc=self.base / "proc")
        return Lookout(self.base / file, self.base, lambda _: self.report, machine, clock=lambda: NOW)

    def orders(self) -> Orders:
        def do(what: str) -> str:
            self.ordered.append(what)
            if what == "cancel 9":
                raise Unanswerable("Job 9 has ended already: error.")
            return f"Done: {what}."

        return Orders(lambda job_id: do(f"cancel {job_id}"), lambda: do("drain"), lambda: do("resume"))

    def play(self, story: Story, width: int = 80, height: int = 24) -> None:
        """Run 'top' until it has looked once, then the story."""

        async def whole() -> None:
            app = TopApp(self.lookout(), LogTail(self.base), self.orders())
            async with app.run_test(size=(width, height), notifications=True) as pilot:
                await until(pilot, lambda: "worker" in text(app, "head"))
                await story(pilot, app)

        asyncio.run(whole())


async def until(pilot: "Pilot[None]", reached: Callable[[], object]) -> None:
    """Let the app work until ``reached()``; AssertionError at the deadline."""
    end = time.monotonic() + DEADLINE
    while not reached():
        assert time.monotonic() < end, f"waited in vain; the screen is\n{screen(pilot.app)}"
        await pilot.pause(0.02)


def screen(app: Any) -> str:
    """What a person sees, line by line."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def text(app: Any, part: str) -> str:
    return str(app.screen_stack[0].query_one(f"#{part}", Static).render())


def cells(app: TopApp, table: str) -> list[list[str]]:
    """The rows of a table as they are shown."""
    shown = app.screen_stack[0].query_one(f"#{table}", LiveTable)
    return [[cell.plain.strip() for cell in shown.get_row_at(at)] for at in range(shown.row_count)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Nothing has happened yet; no worker runs."""
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w", clock=lambda: NOW - 90) as store:
        yield Scene(tmp_path, store)


@pytest.fixture
def busy(scene: Scene) -> Iterator[Scene]:
    """A worker with a job that runs, one that downloads, and two that have ended."""
    scene.add(8, JobState.FINISHED)
    scene.add(9, JobState.ERROR, detail="No [b]beads[/b].\x1b[2J\nTraceback")
    scene.add(17, JobState.RUNNING)
    loading = scene.add(18, JobState.DOWNLOADING)
    scene.report = {**REPORT, "jobs": {str(loading.key): {"meters": [METER, {**METER, "phase": "pull"}]}}}
    with (scene.base / "jobfetcher.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield scene


def test_all_of_it_is_in_one_look(busy: Scene) -> None:
    """Jobs with their progress, updates that wait, ends with the latest first, how many there are."""
    shot = busy.lookout().look()

    assert (shot.running, shot.problem, shot.worker["worker"]) == (True, "", "a1b2")
    assert [(job["id"], len(job["progress"]), job["since"]) for job in shot.jobs] == [
        ("17", 0, NOW - 90),
        ("18", 2, NOW - 90),
    ]
    assert [job["id"] for job in shot.ended] == ["9", "8"]
    assert [(update["id"], update["status"]) for update in shot.unsent][-1] == ("18", "preprocessing")
    assert shot.counts == {"downloading": 1, "error": 1, "finished": 1, "running": 1}


def test_specifications_are_not_read_each_second(busy: Scene) -> None:
    """Of each only the image is there: one may name thousands of files."""
    with open_reader(busy.store.path) as reader:
        found = [row.spec for _, row in (*reader.at_work(), *reader.lately_ended(5))]

    assert found == [{"handler": {"image_url": "busybox"}}] * 4


def test_the_live_states_are_those_of_the_machine() -> None:
    """The reader has a copy of them, so that looking does not load the machine; an index needs it literal."""
    copies = [re.findall(r"'(\w+)'", statement.split(" IN ")[1]) for statement in (AT_WORK, LATELY_ENDED)]

    assert copies == [sorted(LIVE)] * 2


def test_no_table_is_read_whole_for_what_is_at_work(busy: Scene) -> None:
    """Ten thousand ended jobs cost nothing each second."""
    with closing(sqlite3.connect(busy.store.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {AT_WORK}").fetchall()

    assert "USING INDEX jobs_live" in plan[0][3]


def test_a_database_that_is_not_there_is_named(busy: Scene) -> None:
    """The rest is shown all the same, and the next look finds it again."""
    (busy.base / "jobfetcher.db").rename(busy.base / "away.db")
    gone = busy.lookout().look()

    assert (gone.running, gone.jobs, "There is no database at" in gone.problem) == (True, [], True)
    assert "There is no database at" in head(gone).plain
    assert busy.lookout("away.db").look().problem == ""


def test_a_worker_that_was_killed_is_not_shown_as_running(busy: Scene) -> None:
    """Its last report may still be there: its lock is not."""
    (busy.base / "jobfetcher.lock").unlink()
    shot = busy.lookout().look()

    assert (shot.running, [job["progress"] for job in shot.jobs]) == (False, [[], []])


SHOT = Snapshot(NOW, running=True, worker=REPORT)


@pytest.mark.parametrize(
    ("shot", "expected"),
    [
        (SHOT, ["worker a1b2  up 2h05m  taking jobs", "API ok 3s ago   Engine ok 1m05s ago   0 unsent"]),
        (replace(SHOT, draining=True), ["draining: it takes no new jobs"]),
        (replace(SHOT, worker={**REPORT, "runner": "process"}), ["Runner process"]),
        (replace(SHOT, worker={**REPORT, "at": NOW - 300}), ["has not reported for 5m00s"]),
        (replace(SHOT, worker={}), ["runs and has not reported yet", "API not asked yet"]),
        (replace(SHOT, running=False), ["worker a1b2 is not running", "when the worker is back"]),
        (replace(SHOT, running=False, draining=True), ["and takes no jobs until 'resume'"]),
        (replace(SHOT, unsent=[{}] * 3), ["3 unsent"]),
        (
            replace(SHOT, worker={**REPORT, "api": {"ok": False, "at": NOW, "error": "No\x1b[2J way."}}),
            ["API AWAY 0s ago", "\nNo way."],
        ),
    ],
    ids=["well", "draining", "process", "silent", "new", "down", "down and draining", "unsent", "away"],
)
def test_the_header_says_how_the_worker_is(shot: Snapshot, expected: list[str]) -> None:
    """In words, so that no colour is needed."""
    said = head(shot).plain

    assert [part for part in expected if part not in said] == []


def test_busy_is_what_happened_between_two_readings(tmp_path: Path) -> None:
    """A reading tells of the time since the one before; memory that can be had is not used."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "stat").write_text("cpu  10 0 10 70 10 0 0 0\ncpu0 10 0 10 70 10 0 0 0\nintr 5\n")
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
    machine = Machine(tmp_path, gpus=tuple, proc=proc)
    (proc / "stat").write_text("cpu  40 0 10 130 20 0 0 0\ncpu0 40 0 10 130 20 0 0 0\nintr 9\n")
    found = machine.read()

    assert (found["cpu"], found["cpus"]) == (30.0, [30.0])
    assert found["memory"] == {"total": 1000 * 1024, "used": 600 * 1024}
    assert 0 < found["disk"]["free"] <= found["disk"]["total"]
    assert machine.read()["cpu"] is None


def test_what_the_system_does_not_tell_is_left_open(tmp_path: Path) -> None:
    """No /proc, no folder yet: nothing is shown there, nothing breaks."""
    found = Machine(tmp_path / "none", gpus=tuple, proc=tmp_path).read()
    gauges = Gauges()
    gauges.add(replace(SHOT, machine=found))

    assert found == {"cpu": None, "cpus": [], "memory": None, "disk": None, "gpus": []}
    assert gauges.draw(found, 78, 3).plain.split() == ["CPU", "-", "Mem", "-", "Disk", "-"]


def machine(gpus: int = 0) -> Mapping[str, Any]:
    gpu = {"uuid": "u", "model": "A", "memory": 24576, "memory_used": 12288, "busy": 50, "celsius": 61}
    return {
        "cpu": 100.0,
        "cpus": [100.0, 100.0],
        "memory": {"total": 4 << 30, "used": 1 << 30},
        "disk": {"total": 100 << 30, "free": 25 << 30},
        "gpus": [{**gpu, "uuid": f"GPU-{number}"} for number in range(gpus)],
    }


def test_gauges_have_figures_and_a_curve() -> None:
    """The newest reading is at the right; what cannot be read is not drawn as nothing."""
    gauges = Gauges()
    for cpu in (0.0, 50.0, 100.0):
        gauges.add(replace(SHOT, machine={**machine(gpus=1), "cpu": cpu}))
    drawn = gauges.draw(machine(gpus=1), 78, 3).plain

    assert [len(line) for line in drawn.split("\n")] == [76, 76]
    assert "▁▅█ 100% of 2 cores" in drawn
    assert "▃▃▃ 1.0/4.0 GiB" in drawn
    assert "25.0 GiB free of 100.0" in drawn
    assert "▅▅▅ 50% 12.0/24.0 GiB 61°C" in drawn


@pytest.mark.parametrize(
    ("width", "lines", "expected"), [(78, 3, "and 6 more"), (117, 6, "GPU7"), (30, 9, "and 3 more")]
)
def test_many_gpus_take_no_more_room_than_there_is(width: int, lines: int, expected: str) -> None:
    """What does not fit is counted."""
    drawn = Gauges().draw(machine(gpus=8), width, lines).plain.split("\n")

    assert (len(drawn) <= lines, max(map(len, drawn)) <= width, expected in "\n".join(drawn)) == (True,) * 3


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("a\x00b\x9b2J", "a�b�2J"),
        ("right\u202eleft", "right�left"),
        ("one\ntwo", "one"),
        ("", ""),
    ],
)
def test_text_from_outside_is_harmless(outside: str, expected: str) -> None:
    """One line, and nothing that a terminal obeys."""
    assert words.harmless(outside) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0s"), (9.9, "9s"), (200, "3m20s"), (7500, "2h05m"), (273_600, "3d04h"), (9e7, "1041d16h")],
)
def test_spans_are_brief(seconds: float, expected: str) -> None:
    """Two units at most."""
    assert words.brief(seconds) == expected


@pytest.mark.parametrize(("share", "expected"), [(None, "┄┄┄┄"), (0, "┄┄┄┄"), (0.5, "━━┄┄"), (7, "━━━━")])
def test_bars_do_not_need_colours(share: float | None, expected: str) -> None:
    """What is done and what is left look different."""
    assert words.bar(share, 4).plain == expected


def test_a_row_has_a_line_for_each_thing_under_way(busy: Scene) -> None:
    """Phase, bar, percent, rate, time left; in a wide terminal also files, bytes and the image."""
    jobs = busy.lookout().look().jobs
    narrow = rows.job_rows(jobs, NOW, 80)[1]
    wide = rows.job_rows(jobs, NOW, 140)[1]

    assert [cell.plain for cell in narrow.cells] == [
        "18", "downloading", "1m30s",
        "download ━━┄┄┄┄┄  25%\npull     ━━┄┄┄┄┄  25%", "2.0 MiB/s\n2.0 MiB/s", "7s\n7s", "1", "1",
    ]  # fmt: skip
    assert (narrow.height, [cell.plain for cell in wide.cells][4], wide.cells[-1].plain) == (
        2,
        "1/3 5.0 MiB\n1/3 5.0 MiB",
        "busybox",
    )


@pytest.mark.parametrize("width", [60, 80, 109, 110, 200])
def test_the_columns_fit(width: int) -> None:
    """From 80 columns on nothing is cut off at the right."""
    fixed = [
        sum(c.width + 1 for c in columns) for columns in (rows.job_columns(width), rows.ended_columns(width))
    ]

    assert max(fixed) <= max(80, width) - 3


def test_80_by_24_is_enough(busy: Scene) -> None:
    """Header, gauges, all three tables and the keys are there, and text from outside stays text."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        parts = (
            "worker a1b2", "API ok", "CPU", "At work: 2, at most 2 at once", "download ━━", "pull",
            "The API has yet to hear: 9", "Ended: 1 finished, 1 error", "No [b]beads[/b].", "quit", "help",
        )  # fmt: skip
        await until(pilot, lambda: all(part in screen(app) for part in parts))
        seen = screen(app)
        assert ("Traceback" in seen, "\x1b" in seen) == (False, False)

    busy.play(story)


def test_the_screen_follows_what_happens(busy: Scene) -> None:
    """A job that ends moves down, one that comes appears; a worker that ends is said to be down."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        busy.add(19, JobState.FETCHED)
        busy.add(20, JobState.FINISHED)
        await until(pilot, lambda: [row[0] for row in cells(app, "jobs")] == ["17", "18", "19"])
        await until(pilot, lambda: [row[0] for row in cells(app, "ended")] == ["20", "9", "8"])
        (busy.base / "jobfetcher.lock").unlink()
        await until(pilot, lambda: "is not running" in text(app, "head"))
        assert cells(app, "jobs")[1][3] == ""

    busy.play(story)


def test_the_cursor_stays_on_its_job(busy: Scene) -> None:
    """Also when rows come above it, and when its row grows."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("tab", "tab", "down")
        before = app._overview.chosen
        busy.add(20, JobState.FINISHED)
        await until(pilot, lambda: len(cells(app, "ended")) == 3)
        after = app._overview.chosen
        assert [row and row.job_id for row in (before, after)] == ["8", "8"]

    busy.play(story)


def test_a_filter_shows_only_what_has_the_text(busy: Scene) -> None:
    """In all tables, upper or lower case; Escape shows all again."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("slash", *"BEADS", "enter")
        await until(pilot, lambda: [row[0] for row in cells(app, "ended")] == ["9"])
        assert (cells(app, "jobs"), "0 of 2 rows have 'beads'" in text(app, "jobs-title")) == ([], True)
        await pilot.press("escape")
        await until(pilot, lambda: len(cells(app, "ended")) == 2)

    busy.play(story)


def test_enter_shows_all_of_a_job(busy: Scene) -> None:
    """Its timeline, what the API has heard, the last it wrote; Escape goes back."""
    job = busy.add(21, JobState.RUNNING)
    busy.store.note(job.with_facts(run=Run(name="r1", id="1"), image_id="process:busybox"))
    (busy.base / "runs" / "r1").mkdir(parents=True)
    (busy.base / "runs" / "r1" / "output.log").write_text("epoch 1 [b]\x1b[31mloss\x1b[0m\n")

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "epoch 1 [b]loss" in screen(app))
        seen = screen(app)
        for part in ("job 21", "Timeline", "downloading", "The API has heard", "The last it wrote"):
            assert part in seen
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Live))

    busy.play(story, height=50)


def test_l_shows_the_log_and_where_it_is_afterwards(busy: Scene) -> None:
    """A job without a container has none; the page says so."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "(It has no container" in screen(app))

    busy.play(story)


def test_nothing_is_done_without_a_yes(busy: Scene) -> None:
    """c and d ask first: n and Escape leave everything as it is, y does it and says what came of it."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        for keys in (("c", "n"), ("c", "escape"), ("d", "n")):
            await pilot.press(keys[0])
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press(keys[1])
            await until(pilot, lambda: not isinstance(app.screen, Question))
        assert busy.ordered == []
        for key in ("c", "d"):
            await pilot.press(key)
            await until(pilot, lambda: isinstance(app.screen, Question))
            await pilot.press("y")
            await until(pilot, lambda: not isinstance(app.screen, Question))
        await until(pilot, lambda: "Done: drain." in screen(app))
        assert busy.ordered == ["cancel 17", "drain"]

    busy.play(story)


def test_a_refusal_is_shown(busy: Scene) -> None:
    """A job that has ended cannot be cancelled; the sentence says so and 'top' goes on."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("tab", "tab", "c")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("y")
        await until(pilot, lambda: "Job 9 has ended already" in screen(app))

    busy.play(story)


def test_help_lists_the_keys_and_q_quits(busy: Scene) -> None:
    """? opens the list, Escape closes it, q ends with code 0."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: "the worker goes on" in screen(app))
        await pilot.press("escape")
        await until(pilot, lambda: "the worker goes on" not in screen(app))
        await pilot.press("q")
        await until(pilot, lambda: app.return_code == 0)

    busy.play(story)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (140, 45), (250, 80)])
def test_any_terminal_will_do(busy: Scene, width: int, height: int) -> None:
    """However small, it draws, and follows a change of size."""

    async def story(pilot: "Pilot[None]", app: App) -> None:
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: "At work: 2" in screen(app))
        await pilot.resize_terminal(width, height)
        await until(pilot, lambda: len(screen(app).splitlines()) == height)

    busy.play(story, width, height)


def run(folder: Path, *arguments: str, term: str = "xterm") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "jobfetcher", "top", *arguments, "--path-base", str(folder)]
    environ = {**os.environ, "TERM": term}
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_programs_get_one_look(scene: Scene) -> None:
    """``--json`` needs no terminal, and no worker."""
    scene.add(17, JobState.RUNNING)
    code, out, _ = run(scene.base, "--json")
    found = json.loads(out)

    assert (code, found["running"], found["jobs"][0]["id"], found["machine"]["cpus"] != []) == (
        0,
        False,
        "17",
        True,
    )


def test_without_a_terminal_it_says_what_to_use_instead(scene: Scene) -> None:
    """One sentence and exit code 2."""
    code, out, said = run(scene.base)

    assert (code, out) == (2, "")
    assert said.startswith("jobfetcher: 'top' needs a terminal that can move its cursor; ")
    assert said.count("\n") == 1


def test_a_wrong_folder_is_said_before_anything_is_drawn(tmp_path: Path) -> None:
    """No database: the sentence that all commands say, and exit code 1."""
    code, _, said = run(tmp_path, "--json")

    assert (code, "There is no database at" in said, list(tmp_path.iterdir())) == (1, True, [])


def test_cells_are_cut_where_they_tell_least() -> None:
    """An image keeps its end, everything else its beginning."""
    long = "registry.example.org/decode/train:v0.10.1"
    kept = [padded(Text(long), rows.Column("X", 20, keeps_end=ends)).plain for ends in (True, False)]

    assert kept == ["…ecode/train:v0.10.1", "registry.example.or…"]
