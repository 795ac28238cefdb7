"""Wiring: the only file that names the concrete classes."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass

from jobfetcher import logs
from jobfetcher.api.auth import Auth, login
from jobfetcher.api.client import ApiClient
from jobfetcher.api.watched import WatchedApi
from jobfetcher.complaint import sentence
from jobfetcher.control import Control
from jobfetcher.disk import Disk
from jobfetcher.doctor import Examination
from jobfetcher.doctor.engine import Engine as DoctorsEngine
from jobfetcher.doctor.service import TIMEOUT
from jobfetcher.doorbell import hung
from jobfetcher.hardware import Hardware, Machine, gpus
from jobfetcher.ledger import Ledger
from jobfetcher.live import Clerk, Health, LiveStatus
from jobfetcher.lock import Locked, state_lock
from jobfetcher.offer import Offers
from jobfetcher.progress import Board
from jobfetcher.pruning import Pruning
from jobfetcher.reporter import Reporter
from jobfetcher.reupload import Reupload
from jobfetcher.room import Room
from jobfetcher.runners.mounts import HostFolder, HostName
from jobfetcher.settings import Settings, SettingsError, load
from jobfetcher.status.joblog import Tailing
from jobfetcher.status.server import PortUnusable, Responder, StatusServer
from jobfetcher.status.traffic import Traffic
from jobfetcher.stop import StopSignal
from jobfetcher.store import CrashableStore
from jobfetcher.supervisor import EXIT_FAILED, EXIT_LOCKED, EXIT_OK, EXIT_USAGE, Supervisor
from jobfetcher.sweeper import Sweeper
from jobfetcher.systemd import Notifier
from jobfetcher.tools import JobTools
from jobfetcher.transfer import JobTransfers
from jobfetcher.units import MIB
from jobfetcher.worker import Intake, Worker
from jobfetcher.workspace import Folders, worker_id
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.requests import Desk
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Job
from states.ports import Api, Runner

log = logging.getLogger(__name__)

HOUR = 3600.0

ENGINE_SECONDS = 10.0
"""What 'doctor' gives the Docker engine for an answer."""

Running = tuple[Runner, Callable[[], None], Callable[[], str]]
"""A runner; a check that raises ``Paused`` with a sentence while it cannot run anything; and what makes room
on the disk, and says in a sentence if there is too little all the same."""


def run_worker() -> int:
    """Run a worker with the settings of this process until it is stopped. Returns the exit code."""
    try:
        settings = load()
        logs.configure(settings.log_level, settings.log_format, settings.secrets)
        with state_lock(settings.path_base), supervisor(settings) as ready:
            look_around(settings)
            ready.run()
    except SettingsError as error:
        return _complain(error, EXIT_USAGE)
    except Locked as error:
        return _complain(error, EXIT_LOCKED)
    except (StoreUnusable, StoreUnavailable, PortUnusable, OSError) as error:
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
        port = stack.enter_context(open_port(settings))
        name = worker_id(settings.path_base)
        machine = stack.enter_context(closing(Machine()))
        hardware = machine.look()
        folders = Folders(settings.path_base, settings.allowed_images, settings.min_free_disk * MIB)

        def queued() -> None:
            reporter.wake()
            clerk.wake()

        def gone(key: int) -> None:
            worker.gone(key)

        def changed() -> None:
            clerk.wake()

        store = stack.enter_context(CrashableStore(settings.database_url, name, on_queued=queued))
        runner, check_runner, make_room = make_runner(settings, name, store, folders.room)
        ledger = Ledger(store, machine.look, settings.max_jobs, runner.owned)
        offers = Offers(settings, ledger.free)
        signs, traffic = Signs(Board(changed), Health(changed), Health(changed)), Traffic()
        api = WatchedApi(stack.enter_context(make_api(settings, traffic)), signs.api.note)
        grace, keep = settings.stop_grace, settings.keep_jobs * HOUR
        sweeper = Sweeper(store, runner, folders, grace=grace, keep=keep, after=store.reserve.make)
        reporter = Reporter(api, store, settings.timeout_status, on_gone=gone, on_reported=sweeper.wake)
        transfers = make_transfers(settings, api, store, folders.room)

        def tools_for(job: Job, stop: StopSignal) -> JobTools:
            return JobTools(folders, transfers, runner, reporter, store, stop, ledger)

        ready = readiness(check_runner, make_room, signs.engine)
        intake = Intake(api, offers, ready, settings.timeout_job)
        worker = Worker(store, intake, reporter, sweeper, tools_for, settings.max_jobs, board=signs.board)
        desk = stack.enter_context(Desk(store.path, name))
        reupload = Reupload(store, sweeper, folders, transfers)
        doorbell = stack.enter_context(hung(settings.path_base))
        control = Control(desk, store, worker, Pruning(store, sweeper, folders), reupload, doorbell)
        turns = {
            "worker": lambda: worker.turned_at,
            "reporter": lambda: reporter.turned_at,
            "sweeper": lambda: sweeper.turned_at,
            "control": lambda: control.turned_at,
        }
        status = live_status(settings, name, hardware, store, signs, offers, worker, turns)
        clerk = stack.enter_context(Clerk(settings.path_base, status))
        _tell_start(settings, name, hardware)
        if port is not None:
            port.start(routes(settings, store, status, traffic))
        notifier = stack.enter_context(Notifier(status))
        yield Supervisor(worker, reporter, sweeper, control, notifier.ready, notifier.stopping)


def make_transfers(settings: Settings, api: Api, store: SqlStore, room: Room) -> JobTransfers:
    """What moves jobs' files, as the settings want it."""
    return JobTransfers(
        api,
        store,
        connections=settings.transfer_connections,
        with_log=settings.upload_container_log,
        room=room,
    )


def readiness(
    check_runner: Callable[[], None], make_room: Callable[[], str], engine: Health
) -> Callable[[], None]:
    """What raises ``Paused`` with a sentence while this machine can run nothing; see ``Running``."""

    def ready() -> None:
        with engine.heard():
            check_runner()
        if shortage := make_room():
            raise Paused(shortage)

    return ready


@dataclass(frozen=True)
class Signs:
    """What the worker's parts leave for those who watch it."""

    board: Board
    api: Health
    engine: Health


def live_status(
    settings: Settings,
    name: str,
    hardware: Hardware,
    store: SqlStore,
    signs: Signs,
    offers: Offers,
    worker: Worker,
    turns: Mapping[str, Callable[[], float]],
) -> LiveStatus:
    """All that there is to see of this worker."""
    return LiveStatus(
        worker=name,
        runner=settings.runner,
        api_url=settings.api_url,
        hardware=hardware,
        store=store,
        board=signs.board,
        api=signs.api,
        engine=signs.engine,
        offered=lambda: offers.last,
        places=worker.places,
        turns=turns,
        draining=lambda: worker.draining,
    )


def _tell_start(settings: Settings, name: str, hardware: Hardware) -> None:
    told = {
        "worker": name,
        "api": settings.api_url,
        "runner": settings.runner,
        "places": settings.max_jobs,
        "memory": hardware.memory,
        "cpu_cores": hardware.cpu_cores,
        "gpus": [f"{gpu.model} {gpu.uuid}" for gpu in hardware.gpus],
    }
    log.info("worker.started", extra=told)


def open_port(settings: Settings) -> AbstractContextManager[StatusServer | None]:
    """The port of the status page, if there is to be one. Raises ``PortUnusable``."""
    if settings.status_port is None:
        return nullcontext()
    return StatusServer(settings.status_host, settings.status_port)


def routes(settings: Settings, store: SqlStore, live: LiveStatus, traffic: Traffic) -> Responder:
    """What the port answers."""
    from jobfetcher.status.joblog import Log
    from jobfetcher.status.metrics import Exposition, WorkerMetrics
    from jobfetcher.status.routes import Routes
    from jobfetcher.status.views import Worker as Shown

    least = settings.min_free_disk * MIB
    shown = Shown(live, store.path, settings.path_base, least, secrets=settings.secrets)
    metrics = WorkerMetrics(live.as_dict, shown.disk, shown.overview, live.board.moved, traffic)
    return Routes(shown, Exposition(metrics), Log(settings.path_base / "runs", log_engine(settings)))


def log_engine(settings: Settings) -> Tailing | None:
    """Who has the containers' logs; None if jobs are plain processes."""
    if settings.runner == "process":
        return None
    from jobfetcher.runners.docker import DockerEngine

    return DockerEngine(settings.docker_host, ENGINE_SECONDS)


def make_api(settings: Settings, traffic: Traffic | None = None) -> ApiClient:
    """The client of the API with the login that the settings name. Sends nothing yet."""
    return ApiClient(settings.api_url, make_auth(settings), on_answer=(traffic or Traffic()).heard)


def make_auth(settings: Settings) -> Auth:
    """The login that the settings name. Sends nothing yet."""
    return login(
        settings.api_url,
        token=settings.access_token,
        username=settings.username or "",
        password=settings.password,
        endpoint_url=settings.cognito_url,
    )


def make_runner(settings: Settings, worker: str, store: SqlStore, room: Room) -> Running:
    """What the settings name to run jobs with."""
    if settings.runner == "process":
        from jobfetcher.runners.process import ProcessRunner

        log.warning("worker.no-isolation", extra={"because": "RUNNER=process runs jobs as this account"})
        return ProcessRunner(worker, settings.path_base / "runs"), lambda: None, room.shortage
    return _docker_runner(settings, worker, store, room)


def _docker_runner(settings: Settings, worker: str, store: SqlStore, room: Room) -> Running:
    from jobfetcher.runners.docker import DockerEngine, DockerRunner
    from jobfetcher.runners.shelf import Shelf

    folder, engine = host_folder(settings, _tell_host_folder), DockerEngine(settings.docker_host)
    disk = Disk(room, settings.path_base, settings.min_free_disk * MIB, engine.root)

    def need_images() -> list[Job]:
        # Unless this account is root, what a container leaves is removed by another one of its image.
        return store.live() if os.geteuid() == 0 else [*store.live(), *store.unswept()]

    shelf = Shelf(engine, store.images, need_images, disk)

    def check() -> None:
        docker.ping()
        folder.name()

    docker = DockerRunner(
        worker,
        folder,
        base_url=settings.docker_host,
        ipc_mode=settings.ipc_mode,
        shm_size=settings.shm_size * MIB if settings.shm_size else None,
        network=settings.network,
        account=shelf,
    )
    return docker, check, shelf.make_room


def host_folder(settings: Settings, on_found: Callable[[HostName], None] = lambda _: None) -> HostFolder:
    """What ``PATH_BASE`` is called on the engine's machine, found out when it is first asked for."""
    from jobfetcher.runners.docker import DockerEngine

    engine = DockerEngine(settings.docker_host, ENGINE_SECONDS)
    return HostFolder(settings.path_base, settings.path_host_base, engine.inspect, on_found)


def _tell_host_folder(found: HostName) -> None:
    told = {"folder": str(found.folder), "found_by": found.origin}
    if found.doubt:
        log.warning("worker.host-folder", extra={**told, "found": found.doubt, "mend": found.mend})
    else:
        log.info("worker.host-folder", extra=told)


def _complain(error: Exception, code: int) -> int:
    print(f"jobfetcher: {sentence(error)}", file=sys.stderr)
    return code
