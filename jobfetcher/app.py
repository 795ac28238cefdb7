"""Wiring: the only file that names the concrete classes."""

import logging
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobfetcher import logs
from jobfetcher.api.auth import Auth, login
from jobfetcher.api.client import ApiClient
from jobfetcher.doctor import Examination
from jobfetcher.doctor.engine import Engine as DoctorsEngine
from jobfetcher.doctor.service import TIMEOUT
from jobfetcher.hardware import Hardware, collect, gpus
from jobfetcher.reporter import Reporter
from jobfetcher.settings import MIB, Settings, SettingsError, load
from jobfetcher.stop import StopSignal
from jobfetcher.store import CrashableStore
from jobfetcher.supervisor import (
    EXIT_FAILED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_USAGE,
    Locked,
    Supervisor,
    state_lock,
)
from jobfetcher.sweeper import Sweeper
from jobfetcher.tools import JobTools
from jobfetcher.transfer import JobTransfers
from jobfetcher.worker import Intake, Worker
from jobfetcher.workspace import Folders
from persistence.errors import StoreUnavailable, StoreUnusable
from states.errors import Paused
from states.job import Job
from states.ports import Resources, Runner

log = logging.getLogger(__name__)

ENGINE_SECONDS = 10.0
"""What 'doctor' gives the Docker engine for an answer."""


def run_worker() -> int:
    """Run a worker with the settings of this process until it is stopped. Returns the exit code."""
    try:
        settings = load()
        logs.configure(settings.log_level, settings.log_format, _secrets(settings))
        with state_lock(settings.path_base), supervisor(settings) as ready:
            look_around(settings)
            ready.run()
    except SettingsError as error:
        return _complain(error, EXIT_USAGE)
    except Locked as error:
        return _complain(error, EXIT_LOCKED)
    except (StoreUnusable, StoreUnavailable, OSError) as error:
        return _complain(error, EXIT_FAILED)
    return EXIT_OK


def look_around(settings: Settings) -> None:
    """Warn of what is not as it should be, in a thread of its own: a worker starts and waits for the rest."""

    def look() -> None:
        try:
            for check in examination().quickly(settings):
                if check.mend:
                    said = {"check": check.name, "found": check.found, "mend": check.mend}
                    log.warning("worker.needs-care", extra=said)
        except Exception:
            log.exception("doctor.stumbled")

    threading.Thread(target=look, name="doctor", daemon=True).start()


def examination() -> Examination:
    """The checks of 'jobfetcher doctor'."""

    def engine(settings: Settings) -> DoctorsEngine:
        from jobfetcher.runners.docker import DockerEngine

        return DockerEngine(settings.docker_host, ENGINE_SECONDS)

    def api(settings: Settings, auth: Auth) -> ApiClient:
        return ApiClient(settings.api_url, auth, timeout=TIMEOUT)

    return Examination(make_auth, api, engine, gpus)


@contextmanager
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    """A worker as the settings want it, ready to run. The state folder must be locked."""
    with ExitStack() as stack:
        name = worker_id(settings.path_base)
        hardware = collect()
        folders = Folders(settings.path_base, settings.allowed_images, settings.min_free_disk * MIB)
        runner, check_runner = make_runner(settings, name)

        def queued() -> None:
            reporter.wake()

        def gone(key: int) -> None:
            worker.gone(key)

        store = stack.enter_context(CrashableStore(settings.database_url, name, on_queued=queued))
        api = stack.enter_context(make_api(settings))
        sweeper = Sweeper(store, runner, folders, grace=settings.stop_grace)
        reporter = Reporter(
            api,
            store,
            settings.timeout_status,
            on_gone=gone,
            on_reported=sweeper.wake,
        )
        transfers = JobTransfers(
            api, store, connections=settings.transfer_connections, with_log=settings.upload_container_log
        )

        def tools_for(job: Job, stop: StopSignal) -> JobTools:
            gpus = tuple(gpu.uuid for gpu in hardware.gpus)
            return JobTools(folders, transfers, runner, reporter, store, stop, gpus)

        def ready() -> None:
            check_runner()
            check_disk(settings.path_base, settings.min_free_disk * MIB)

        offered = resources(settings, hardware)
        intake = Intake(api, lambda: offered, ready, settings.timeout_job)
        worker = Worker(store, intake, reporter, sweeper, tools_for)
        log.info(
            "worker.started",
            extra={
                "worker": name,
                "api": settings.api_url,
                "runner": settings.runner,
                **offered.model_dump(),
            },
        )
        yield Supervisor(worker, reporter, sweeper)


def make_api(settings: Settings) -> ApiClient:
    """The client of the API with the login that the settings name. Sends nothing yet."""
    return ApiClient(settings.api_url, make_auth(settings))


def make_auth(settings: Settings) -> Auth:
    """The login that the settings name. Sends nothing yet."""
    return login(
        settings.api_url,
        token=settings.access_token,
        username=settings.username or "",
        password=settings.password,
        endpoint_url=settings.cognito_url,
    )


def make_runner(settings: Settings, worker: str) -> tuple[Runner, Callable[[], None]]:
    """The runner, and a check that raises ``Paused`` with a sentence while it cannot run anything."""
    if settings.runner == "process":
        from jobfetcher.runners.process import ProcessRunner

        log.warning("worker.no-isolation", extra={"because": "RUNNER=process runs jobs as this account"})
        return ProcessRunner(worker, settings.path_base / "runs"), lambda: None
    from jobfetcher.runners.docker import DockerRunner

    docker = DockerRunner(
        worker,
        settings.on_host,
        base_url=settings.docker_host,
        ipc_mode=settings.ipc_mode,
        shm_size=settings.shm_size * MIB if settings.shm_size else None,
        network=settings.network,
    )
    return docker, docker.ping


def resources(settings: Settings, hardware: Hardware) -> Resources:
    """What the API is told that this machine has; of several GPUs the first, as the existing worker."""
    gpu = hardware.gpus[0] if hardware.gpus else None
    return Resources(
        memory=hardware.memory,
        cpu_cores=hardware.cpu_cores,
        gpu_mem=gpu.memory if gpu else 0,
        gpu_model=gpu.model if gpu else None,
        gpu_archi=gpu.architecture if gpu else None,
        groups=settings.groups,
        older_than=settings.older_than,
    )


def check_disk(folder: Path, least: int) -> None:
    """Raise ``Paused`` if fewer than ``least`` bytes are free: a job taken now would only fail."""
    free = shutil.disk_usage(folder).free
    if free < least:
        raise Paused(
            f"No job is fetched until there is room: {free // MIB} MiB are free in {folder}, "
            f"{least // MIB} MiB must stay free (MIN_FREE_DISK)."
        )


def worker_id(folder: Path) -> str:
    """This state folder's own name, made at its first use: it scopes containers and jobs to this worker.

    It lies beside the database and not in it, so that containers are still known as ours if the
    database is lost.
    """
    file = folder / "worker-id"
    if not file.exists():
        draft = folder / "worker-id.new"
        draft.write_text(f"{secrets.token_hex(4)}\n")
        draft.replace(file)
    return file.read_text().strip()


def _secrets(settings: Settings) -> tuple[str, ...]:
    return tuple(
        secret.get_secret_value()
        for secret in (settings.access_token, settings.password)
        if secret is not None
    )


def _complain(error: Exception, code: int) -> int:
    print(f"jobfetcher: {error}", file=sys.stderr)
    return code
