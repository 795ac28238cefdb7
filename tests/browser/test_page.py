"""The status page in a real browser, before a real worker or a database made for the purpose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from mock_api.client import MockServer
from states.job import JobState, Trigger
from states.spec import JobSpec
from tests.browser.conftest import PATIENCE
from tests.status_scene import Scene, scene
from tests.store_life import brought_to, moved, spec
from tests.watched_worker import WatchedWorker
from tests.worker_process import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CONTENT = b"0123456789" * 30_000
MARKUP = "<b>bold</b><script>document.title='owned'</script>"


@pytest.fixture(autouse=True)
def _patience() -> None:
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WatchedWorker]:
    with WatchedWorker(tmp_path / "worker", mock.url) as made:
        yield made


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as opened:
        yield opened


def submit(mock: MockServer, command: str, *inputs: str) -> int:
    for name in inputs:
        mock.control.put_file(f"/user/{name}", CONTENT)
    down = {f"data/{name}": f"/user/{name}" for name in inputs}
    return mock.control.submit(files_down=down, files_up={"output": "output"}, cmd=[command])


def row(page: Page, job: int | str) -> Locator:
    """The job's line in the table."""
    return page.locator("#rows tr").filter(has=page.get_by_role("button", name=str(job), exact=True))


def box(page: Page, state: str) -> Locator:
    """The state's box in the picture."""
    return page.locator(f".machine.wide .state.{state}")


def test_a_job_moves_through_the_states(page: Page, mock: MockServer, worker: WatchedWorker) -> None:
    """From the box of one state to that of the next, with its progress, until the end counts it."""
    mock.control.fault("hang", r"y/download$")
    job = submit(mock, "while [ ! -e /files/output/go ]; do sleep 0.1; done", "x", "y")
    worker.start()
    page.goto(worker.url)
    pill = page.locator(f".machine.wide .pill[aria-label^='Job {job},']")

    expect(row(page, job).locator(".badge")).to_have_text("downloading")
    expect(row(page, job)).to_contain_text("down 293.0 KiB · 1 of 2 files")
    expect(row(page, job).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    expect(pill).to_have_attribute("aria-label", f"Job {job}, downloading")
    before = pill.evaluate("pill => pill.style.transform")
    mock.control.clear_faults()
    expect(pill).to_have_attribute("aria-label", f"Job {job}, running")
    assert before != pill.evaluate("pill => pill.style.transform")
    expect(box(page, "running").locator(".count")).to_have_text("1")

    until("its folder", lambda: list((worker.base / "jobs").glob("*/1/output")))[0].joinpath("go").touch()

    expect(row(page, job).locator(".badge")).to_have_text("finished")
    expect(box(page, "finished").locator(".count")).to_have_text("1")
    expect(box(page, "running").locator(".count")).to_have_text("0")
    expect(pill).to_have_count(0)


def test_a_failed_job_is_told_as_text(page: Page, mock: MockServer, worker: WatchedWorker) -> None:
    """Its timeline has a bar for each state, and markup that it wrote is shown and not obeyed."""
    job = submit(mock, f"echo \"{MARKUP.replace('<', chr(92) + '<')}\" | tr -d '\\134'; exit 3")
    worker.start()
    page.goto(worker.url)
    expect(row(page, job).locator(".badge")).to_have_text("error")
    expect(row(page, job)).to_contain_text("exit code 3")

    row(page, job).get_by_role("button").click()

    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".chart li")).to_have_count(5)
    expect(dialog.locator(".chart .badge")).to_have_text(
        ["fetched", "downloading", "running", "uploading", "error"]
    )
    expect(dialog.locator("pre").first).to_contain_text(MARKUP)
    expect(dialog.locator("dl").first).to_contain_text("3")
    assert "owned" not in page.title()
    assert 0 == dialog.locator("pre b, pre script").count()


def test_a_worker_that_dies_is_told_and_forgotten_when_it_is_back(
    page: Page, mock: MockServer, worker: WatchedWorker
) -> None:
    """SIGKILL: the page says since when. Started again: as if nothing had been."""
    worker.start()
    page.goto(worker.url)
    expect(page.locator("#worker")).to_contain_text(f"process {worker.process.pid}")
    banner = page.locator("#banner")
    expect(banner).to_be_hidden()

    port = worker.url.rstrip("/").rpartition(":")[2]
    worker.kill()
    expect(banner).to_contain_text(re.compile(r"does not answer since \d+:\d+:\d+"))
    expect(page).to_have_title(re.compile("no answer"))
    expect(page.locator("#signs li")).to_have_text(["no answer"])

    worker.start(STATUS_PORT=port)
    expect(banner).to_be_hidden()
    expect(page.locator("#signs li").first).to_have_text("worker alive")
    expect(page.locator("#worker")).to_contain_text(f"process {worker.process.pid}")


def hostile(number: int) -> JobSpec:
    raw: dict[str, Any] = {
        "app": {"cmd": [MARKUP]},
        "handler": {"image_url": f"registry/{MARKUP}", "files_down": {MARKUP: MARKUP}},
        "meta": {"job_id": number, "date_created": "today"},
        "hardware": {},
    }
    return JobSpec.parse(MARKUP, raw)


def test_nothing_that_comes_from_a_job_is_markup(page: Page, still: Scene) -> None:
    """Id, image, command, detail: all shown as they are, in the picture, the table and the details."""
    job = brought_to(still.store, still.store.add(hostile(1)), JobState.RUNNING)
    moved(still.store, job, Trigger.FAILED, detail=MARKUP)
    still.live.changes["api"] = {"url": MARKUP, "ok": False, "at": 1.0, "error": MARKUP}
    page.goto(still.url)
    row(page, MARKUP).get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"Job {MARKUP}")
    expect(page.get_by_role("dialog")).to_contain_text("What its owner is told")

    assert "owned" not in page.title()
    assert 0 == page.locator("main b, dialog b, body script").count()
    expect(page.locator("#health")).to_contain_text(MARKUP)


def test_a_run_that_was_lost_is_seen_in_the_timeline(page: Page, still: Scene) -> None:
    """Each stay has its bar, and the runs have their numbers."""
    job = brought_to(still.store, still.store.add(spec(5)), JobState.RUNNING)
    job = moved(still.store, job, Trigger.LOST)
    moved(still.store, job, Trigger.DOWNLOADED)
    page.goto(still.url)
    page.locator(".machine.wide .pill").click()

    names = page.get_by_role("dialog").locator(".chart li > span:first-child")
    expect(names).to_have_text(
        ["fetchedrun 1", "downloadingrun 1", "runningrun 1", "downloadingrun 2", "runningrun 2"]
    )


def test_jobs_can_be_found(page: Page, still: Scene) -> None:
    """By state and by what stands in their line; what is not there is said."""
    for number in (1, 2, 3):
        brought_to(still.store, still.store.add(spec(number)), JobState.ERROR, detail=f"reason {number}")
    still.store.add(spec(4))
    page.goto(still.url)
    ids = page.locator("#rows .link")
    expect(ids).to_have_text(["4", "3", "2", "1"])
    page.get_by_label("Only jobs in this state").select_option("error")
    expect(ids).to_have_text(["3", "2", "1"])
    page.get_by_label("Search in id, image and detail").fill("REASON 2")
    expect(ids).to_have_text(["2"])
    page.get_by_label("Search in id, image and detail").fill("beads")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    page.get_by_label("Search in id, image and detail").fill("")
    page.get_by_label("Only jobs in this state").select_option("at work")

    expect(ids).to_have_text(["4"])


def test_the_keyboard_is_enough(page: Page, still: Scene) -> None:
    """Tab leads to a job, in the table and in the picture; Enter opens it, Escape leads back."""
    still.store.add(spec(1))
    page.goto(still.url)
    button = page.locator("#rows .link")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Job 1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()

    page.locator(".machine.wide .pill").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Job 1")


def test_trouble_is_said_in_words(page: Page, still: Scene) -> None:
    """A thread that stands still, an API that is away, updates that wait, draining: not by colour alone."""
    still.live.changes |= {
        "threads": {"reporter": 0.0},
        "api": {"url": "https://api.example.org", "ok": False, "at": 1.0, "error": "connection refused"},
        "unsent": 3,
        "draining": True,
    }
    page.goto(still.url)

    expect(page.locator("#banner")).to_contain_text("'reporter' has stood still")
    expect(page.locator("#signs")).to_contain_text("worker stuck")
    expect(page.locator("#signs")).to_contain_text("API away")
    expect(page.locator("#signs")).to_contain_text("3 unsent")
    expect(page.locator("#signs")).to_contain_text("draining")
    expect(page.locator("#health")).to_contain_text("connection refused")


@pytest.mark.parametrize(("width", "drawing"), [(400, "tall"), (1400, "wide")])
def test_it_fits_a_phone_and_a_desk(page: Page, still: Scene, width: int, drawing: str) -> None:
    """Nothing sticks out sideways, and the drawing is the one for that width."""
    job = still.store.add(hostile(1))
    moved(still.store, job, Trigger.FAILED, detail="x" * 500)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(still.url)
    expect(row(page, MARKUP)).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.locator(f".machine.{drawing}")).to_be_visible()
    expect(page.locator(f".machine:not(.{drawing})")).to_be_hidden()


BRIGHTNESS = """() => ["backgroundColor", "color"].map(
    (what) => getComputedStyle(document.body)[what].match(/[0-9]+/g).slice(0, 3)
        .reduce((sum, one) => sum + Number(one), 0)
)"""


def test_it_follows_the_systems_light_and_dark(page: Page, still: Scene) -> None:
    """The ground is light or dark, and the words the other way."""
    brighter = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        page.goto(still.url)
        ground, words = page.evaluate(BRIGHTNESS)
        brighter[scheme] = "ground" if ground > words else "words"

    assert {"light": "ground", "dark": "words"} == brighter


def test_a_page_that_nobody_sees_asks_nothing(page: Page, still: Scene) -> None:
    """In the background no request is made; back in front it goes on."""
    page.add_init_script(
        "window.away = false;"
        "Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true});"
    )
    page.goto(still.url)
    with page.expect_response("**/api/status"):
        pass
    page.evaluate("window.away = true")
    page.wait_for_timeout(1500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)

    assert [] == asked
    with page.expect_response("**/api/status"):
        page.evaluate("window.away = false")
