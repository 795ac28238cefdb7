"""``jobfetcher demo``: three jobs, a worker that is killed in the middle of one, and what comes of it."""

import hashlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from jobfetcher.cli import look
from jobfetcher.cli.stage import DemoFailed, DemoWorker, MockApi, wait_for
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.reader import open_reader
from states.errors import Paused

SECONDS = 8
"""How long the job runs in whose middle the worker is killed."""
OURS = "This folder was made by 'jobfetcher demo' and is emptied by it.\n"

SUCCEEDS = [
    "sha256sum $(find /files/data -type f) > /files/output/checksums.txt &&",
    "cp /files/data/* /files/output/ &&",
    "echo analysed $(ls /files/data | wc -l) files",
]
FAILS = ["echo half a result > /files/output/half.txt; echo 'no beads found in frame 17'; exit 3"]
INTERRUPTED = [
    "echo started >> /files/output/starts.txt;",
    f"for i in $(seq {SECONDS}); do echo tick $i >> /files/output/ticks.txt; sleep 1; done;",
    "cp /files/data/* /files/output/",
]


@dataclass
class Act:
    """One of the demo's jobs, and what must come of it."""

    title: str
    cmd: list[str]
    inputs: dict[str, bytes]
    ends: str
    job_id: str = ""
    checks: dict[str, bool] = field(default_factory=dict)


def run_demo(folder: Path, runner: str, image: str, as_json: bool) -> int:
    """Run the demo in ``folder``. Returns 0 if everything came out as promised, else 1."""
    console = Console(stderr=as_json, highlight=False)
    try:
        folder = _emptied(folder.absolute())
        runner = _chosen(runner, console)
        acts = _acts()
        with MockApi(folder / "api") as api:
            worker = DemoWorker(folder / "worker", api.url, runner)
            try:
                _play(api, worker, acts, image, console)
            finally:
                worker.kill()
            _check(api, worker, acts)
            violations = api.violations()
    except DemoFailed as failure:
        log = folder / "worker.log"
        where = f"\nThe worker's log: {log}" if log.exists() else ""
        console.print(f"[red]The demo failed.[/] {failure}{where}")
        return 1
    if as_json:
        look.as_json({"runner": runner, "jobs": [_summary(act) for act in acts], "violations": violations})
    else:
        _epilogue(console, folder, worker, acts, violations)
    return 0 if not violations and all(all(act.checks.values()) for act in acts) else 1


def _emptied(folder: Path) -> Path:
    """The folder, empty. Only what an earlier demo made is removed."""
    mark = folder / "made-by-jobfetcher-demo"
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise DemoFailed(f"{folder} is not empty and no demo's folder; choose another with --folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(OURS)
    return folder


def _chosen(runner: str, console: Console) -> str:
    """The runner to use; what is said about it."""
    if runner != "process":
        from jobfetcher.runners.docker import DockerRunner

        engine = DockerRunner("demo")
        try:
            console.print(f"Docker engine {engine.version()}: jobs run in real containers.")
            return "docker"
        except Paused as away:
            if runner == "docker":
                raise DemoFailed(str(away)) from away
            console.print(f"[yellow]{away}[/]")
        finally:
            engine.close()
    console.print(
        "[yellow]Jobs run as plain processes of this machine (the process runner): no isolation.[/]"
    )
    return "process"


def _acts() -> list[Act]:
    noise = random.Random(17)
    frames = {"frames.tif": noise.randbytes(3_000_000), "beads.mat": noise.randbytes(700_000)}
    return [
        Act("succeeds", SUCCEEDS, frames, "finished"),
        Act("exits with 3", FAILS, {"frames.tif": noise.randbytes(400_000)}, "error"),
        Act("is interrupted", INTERRUPTED, {"frames.tif": noise.randbytes(2_000_000)}, "finished"),
    ]


def _play(api: MockApi, worker: DemoWorker, acts: list[Act], image: str, console: Console) -> None:
    for act in acts:
        _submit(api, act, image)
    console.print(f"Mock API at {api.url}: {len(acts)} jobs are waiting.")
    with Live(
        console=console, refresh_per_second=8, get_renderable=lambda: _table(api, worker, acts)
    ) as live:
        say = live.console.print
        say(f"Worker started (process {worker.start()}).")
        ticks = _ticks(worker, acts[-1])
        wait_for("the last job's container to work", lambda: ticks() >= 2 or not worker.alive())
        if not worker.alive():
            raise DemoFailed("The worker ended by itself.")
        worker.kill()
        killed_at = ticks()
        say(f"[bold red]Worker killed with SIGKILL[/] at tick {killed_at} of {SECONDS}.")
        time.sleep(2)
        say(f"No worker runs; the job itself goes on: tick {ticks()} of {SECONDS}.")
        acts[-1].checks["the container went on without the worker"] = ticks() > killed_at
        say(f"Worker started again (process {worker.start()}).")
        wait_for("all jobs to be reported", lambda: _all_told(api, acts))
        wait_for("the folders to be swept", lambda: not any((worker.base / "jobs").iterdir()))
        code = worker.stop()
        say(f"Worker stopped with SIGTERM (exit code {code}).")


def _submit(api: MockApi, act: Act, image: str) -> None:
    files = {}
    for name, content in act.inputs.items():
        file_id = f"/user_data/demo/{act.title}/{name}"
        api.put_file(file_id, content)
        files[f"data/{name}"] = file_id
    act.job_id = api.submit(
        {"image": image, "cmd": act.cmd, "files_down": files, "files_up": {"output": "output"}}
    )


def _ticks(worker: DemoWorker, act: Act) -> Callable[[], int]:
    """How far the last job has come, read from its folder."""

    def count() -> int:
        files = list((worker.base / "jobs").glob(f"{act.job_id}-*/1/output/ticks.txt"))
        return len(files[0].read_text().splitlines()) if files else 0

    return count


def _all_told(api: MockApi, acts: list[Act]) -> bool:
    return all(api.statuses(act.job_id)[-1:] in (["finished"], ["error"]) for act in acts)


def _states(worker: DemoWorker) -> dict[str, dict[str, Any]]:
    try:
        with open_reader(worker.base / "jobfetcher.db") as reader:
            return {row.api_id: look.summary(row, 0) for row in reader.jobs()}
    except (StoreUnusable, StoreUnavailable):
        return {}


def _table(api: MockApi, worker: DemoWorker, acts: list[Act]) -> Group:
    states = _states(worker)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("JOB", "WHAT IT DOES", "STATE", "THE API HAS HEARD"):
        table.add_column(title)
    for act in acts:
        state = states.get(act.job_id, {}).get("state", "waiting")
        colour = look.COLOURS.get(state, "yellow")
        heard = " > ".join(api.statuses(act.job_id))
        table.add_row(act.job_id, act.title, f"[{colour}]{state}[/]", heard)
    alive = "[green]runs[/]" if worker.alive() else "[red]does not run[/]"
    return Group(f"\nThe worker {alive}.", table)


def _check(api: MockApi, worker: DemoWorker, acts: list[Act]) -> None:
    states = _states(worker)
    for act in acts:
        uploads = {upload["name"]: upload for upload in api.uploads(act.job_id)}
        act.checks[f"ended in {act.ends}"] = states[act.job_id]["state"] == act.ends
        told = ["preprocessing", "running", "postprocessing", act.ends]
        act.checks["the API heard each status once, in order"] = api.statuses(act.job_id) == told
        if act.ends == "finished":
            same = all(
                uploads.get(name, {}).get("sha256") == hashlib.sha256(content).hexdigest()
                for name, content in act.inputs.items()
            )
            act.checks["what came back has the checksums of what went in"] = same
    starts = api.folder / "uploads" / acts[-1].job_id / "output" / "output" / "starts.txt"
    acts[-1].checks["its container was started exactly once"] = starts.read_text() == "started\n"


def _summary(act: Act) -> dict[str, Any]:
    return {"id": act.job_id, "title": act.title, "checks": act.checks}


def _epilogue(
    console: Console, folder: Path, worker: DemoWorker, acts: list[Act], violations: list[dict[str, Any]]
) -> None:
    with open_reader(worker.base / "jobfetcher.db") as reader:
        for act in acts:
            known = look.everything(look.one(reader, act.job_id), reader)
            console.print(f"\n[bold]Job {act.job_id}, which {act.title}[/]", look.timeline(known["moves"]))
            for check, passed in act.checks.items():
                console.print(f"  {'[green]yes[/]' if passed else '[red]NO [/]'} {check}")
    console.print(f"\n  {'[red]NO [/]' if violations else '[green]yes[/]'} the API saw nothing illegal")
    shown = Path(os.path.relpath(folder))
    command = "jobfetcher" if shutil.which("jobfetcher") else os.path.relpath(sys.argv[0])
    console.print(
        f"\nOutputs and container logs, as the API stores them: {shown}/api/uploads/<job>/"
        f"\nThe worker's log: {shown}/worker.log"
        f"\n\nNext, try:\n"
        f"  {command} show {acts[-1].job_id} --path-base {shown}/worker\n"
        f"  {command} graph {acts[-1].job_id} --path-base {shown}/worker",
        soft_wrap=True,
    )
