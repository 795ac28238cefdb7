"""Rows about thousands of small files, beside one curl with the same requests and connections."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.containers import QUICK_POLL
from bench.measure import Goal, Ground, Row, interleaved, row
from bench.processes import Worker, wall
from bench.server import FastApi

SIZE = 4096
CONNECTIONS = "8"


def small(ground: Ground) -> Iterator[Row]:
    """Down, the API's own request for each included; and up."""
    count = ground.scale.files
    files = _sources(ground.folder / "files", count)
    with (
        FastApi(files) as api,
        Worker(ground.folder / "w", api.url, RUNNER="process", **QUICK_POLL) as worker,
    ):
        api.wait("finished", api.submit("true"))
        curl_down = _downloads(ground.folder, api.url, files)
        curl_up = _uploads(ground.folder, api.url, files)
        ours, floor = interleaved(ground.scale.rounds, lambda: _down(api, files), lambda: _curl(curl_down))
        yield row(f"{count} files of 4 KiB down; curl --parallel", "s", ours, floor, Goal(1.4))
        ours, floor = interleaved(ground.scale.rounds, lambda: _up(api, count), lambda: _curl(curl_up))
        yield row(f"{count} files of 4 KiB up; curl --parallel", "s", ours, floor, Goal(1.4))
        assert worker.memory() > 0


def _sources(folder: Path, count: int) -> dict[str, Path]:
    folder.mkdir(parents=True)
    files = {f"f{number:05}": folder / f"f{number:05}" for number in range(count)}
    for path in files.values():
        path.write_bytes(bytes(SIZE))
    return files


def _down(api: FastApi, files: Iterable[str]) -> float:
    api.forget()
    job = api.submit("true", files_down={f"in/{name}": name for name in files})
    ended = api.wait("running", job)
    began = api.wait("asked")
    api.wait("finished", job)
    return ended - began


def _up(api: FastApi, count: int) -> float:
    """From the first question to ``finished``, which also waits for the log's two requests."""
    cut = f"mkdir -p /files/out && head -c {count * SIZE} /dev/zero | split -b {SIZE} -a 4 - /files/out/f"
    job = api.submit(cut, files_up={"output": "out"})
    api.wait("running", job)
    api.forget()
    ended = api.wait("finished", job)
    return ended - api.wait("asked")


def _curl(config: Path) -> float:
    return wall("curl", "--parallel", "--parallel-max", CONNECTIONS, "-sf", "-K", config)


def _downloads(folder: Path, url: str, files: Iterable[str]) -> Path:
    target = folder / "curl"
    target.mkdir()
    asked = [_entry(f"{url}/files/{name}/url", target / f"{name}.json") for name in files]
    return _config(
        folder / "down.conf", [*asked, *(_entry(f"{url}/raw/{name}", target / name) for name in files)]
    )


def _uploads(folder: Path, url: str, files: dict[str, Path]) -> Path:
    asked = f'{_entry(f"{url}/jobs/0/files/url?type=output&base_path=out", "/dev/null")}request = "POST"\n'
    upload = _entry(f"{url}/jobs/0/files/upload", "/dev/null")
    return _config(
        folder / "up.conf", [asked, *(f'{upload}form = "file=@{path}"\n' for path in files.values())]
    )


def _entry(url: str, target: Path | str) -> str:
    return f'url = "{url}"\noutput = "{target}"\n'


def _config(path: Path, entries: Iterable[str]) -> Path:
    path.write_text("next\n".join(entries))
    return path
