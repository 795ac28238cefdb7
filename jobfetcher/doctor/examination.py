"""All checks, in the order in which they build on each other."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from jobfetcher.api.auth import Auth
from jobfetcher.doctor import machine, service
from jobfetcher.doctor.check import Check, Status, failed, ok, skipped
from jobfetcher.doctor.engine import Engine, Place, check_containers, check_engine
from jobfetcher.hardware import Gpu, cards
from jobfetcher.runners.mounts import HostFolder
from jobfetcher.settings import Settings, SettingsError, load
from jobfetcher.units import MIB
from states.errors import Paused

AFTER_ENGINE = ("pull", "files", "GPU in containers")
AFTER_SETTINGS = ("folder", "disk", "lock", "database", "API", "clock", "login", "group", "Docker")


@dataclass(frozen=True)
class Examination:
    """The checks, with what they examine."""

    auth: Callable[[Settings], Auth]
    api: Callable[[Settings, Auth], service.Status]
    engine: Callable[[Settings], Engine]
    gpus: Callable[[], tuple[Gpu, ...]]

    def everything(self, image: str | None = None) -> Iterator[Check]:
        """Each check as soon as it is done. ``image`` names one to try out."""
        try:
            settings = load()
        except SettingsError as error:
            yield failed("settings", *_split(error))
            yield from (skipped(name, "the settings come first") for name in AFTER_SETTINGS)
            yield machine.check_gpus(self.gpus)
            yield from (skipped(name, "the settings come first") for name in AFTER_ENGINE)
            return
        yield ok("settings", "complete")
        yield from self._of_machine(settings)
        yield from self._of_service(settings)
        yield from self._of_engine(settings, image)

    def quickly(self, settings: Settings) -> Iterator[Check]:
        """What a worker looks at when it starts. Nothing of it keeps it from starting."""
        yield from machine.check_quickly(settings.path_base, settings.min_free_disk * MIB)
        if settings.runner == "docker":
            yield check_engine(self.engine(settings))
        yield service.reach(settings.api_url)[0]

    def _of_machine(self, settings: Settings) -> Iterator[Check]:
        yield from machine.check_quickly(settings.path_base, settings.min_free_disk * MIB)
        yield machine.check_lock(settings.path_base)
        yield machine.check_database(settings.database_url)

    def _of_service(self, settings: Settings) -> Iterator[Check]:
        auth = self.auth(settings)
        api = self.api(settings, auth)
        yield from service.check_service(settings.api_url, auth, api, settings.access_token is not None)

    def _of_engine(self, settings: Settings, image: str | None) -> Iterator[Check]:
        shown = machine.check_gpus(self.gpus)
        if settings.runner != "docker":
            why = f"RUNNER={settings.runner} needs no Docker"
            yield skipped("Docker", why)
            yield shown
            yield from (skipped(name, why) for name in AFTER_ENGINE)
            return
        engine = self.engine(settings)
        answers = check_engine(engine)
        yield answers
        yield shown
        if answers.status is not Status.OK:
            yield from (skipped(name, "Docker does not answer") for name in AFTER_ENGINE)
            return
        place = _place(settings, engine)
        count = 0 if shown.status is not Status.OK else cards(self.gpus())
        yield from check_containers(engine, place, image, count)


def _place(settings: Settings, engine: Engine) -> Place:
    on_host = HostFolder(settings.path_base, settings.path_host_base, engine.inspect)
    with suppress(Paused):  # the checks that follow meet it too, and say so
        name = on_host.name()
        return Place(settings.path_base, on_host, name.doubt, name.mend)
    return Place(settings.path_base, on_host)


def _split(error: SettingsError) -> tuple[str, str]:
    """What is wrong with the settings, and what to do: the last line of the message."""
    *found, mend = str(error).splitlines()
    return " ".join(line.strip() for line in found[1:]), mend
