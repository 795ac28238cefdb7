"""How a machine is shared out between jobs. Pure: what is free follows from the machine and the jobs alone.

With one place (``MAX_JOBS=1``) a job has the whole machine, without limits. With more, a job gets what it
declares, and of what it declares nothing of an equal part; no GPU is ever given to two jobs.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from jobfetcher.hardware import Gpu, Hardware
from states.errors import Paused
from states.job import Job, Share
from states.spec import HardwareSpec

CENTS = 100
"""Cores are counted in hundredths, so that parts add up exactly."""
LEAST_CORES = 1
LEAST_MEMORY = 512
"""MiB. With less free than this no job is taken on, unless an equal part is smaller still."""
SMALLEST_LIMIT = 6
"""MiB: engines refuse to hold a container to less memory."""


@dataclass(frozen=True)
class Free:
    """What no job holds. ``memory`` is in MiB."""

    cpu_cores: float
    memory: int
    gpus: tuple[Gpu, ...] = ()
    """The one with most free memory first."""


@dataclass(frozen=True)
class Holding:
    """What one job gets."""

    share: Share
    gpus: tuple[str, ...]


class Book:
    """One machine while it is shared out: to those who hold something first, then to the others in turn."""

    def __init__(self, machine: Hardware, places: int) -> None:
        self._machine = machine
        self._places = places
        self._cents = machine.cpu_cores * CENTS
        self._memory = machine.memory
        self._free = {gpu.uuid: gpu for gpu in machine.gpus}
        self._part = (machine.cpu_cores * CENTS // places, machine.memory // places)

    @property
    def free(self) -> Free:
        """What is left now."""
        gpus = sorted(self._free.values(), key=lambda gpu: (-gpu.free, gpu.uuid))
        return Free(max(0, self._cents) / CENTS, max(0, self._memory), tuple(gpus))

    @property
    def is_full(self) -> bool:
        """What is left is of no use to any job."""
        return self._cents < min(LEAST_CORES * CENTS, self._part[0]) or self.is_little(self._memory)

    def is_little(self, memory: int) -> bool:
        """So many MiB are of no use to any job. Some of a machine's memory is always in use: half of an
        equal part will do."""
        return memory < min(LEAST_MEMORY, self._part[1] // 2)

    def held(self, jobs: Iterable[Job]) -> None:
        """Take off what these jobs hold."""
        for job in jobs:
            if (share := self._kept(job)) is not None:
                self._take(share)
                for uuid in job.facts.gpus:
                    self._free.pop(uuid, None)

    def give(self, job: Job) -> Holding:
        """What the job gets, taken off what is left. Raises ``Paused`` if that does not suffice."""
        kept = self._kept(job)
        if job.facts.run is not None:
            return Holding(kept or Share(), job.facts.gpus)
        gpus = self._gpus(job, settled=kept is not None)
        share = kept or self._share(job.spec.hardware)
        if kept is None:
            self._take(share)
        for uuid in gpus:
            self._free.pop(uuid, None)
        return Holding(share, gpus)

    def _kept(self, job: Job) -> Share | None:
        """The share that stays the job's: always once there is a container, else unless ``MAX_JOBS`` has
        changed from or to one, or the machine has shrunk."""
        share = job.facts.share
        if job.facts.run is not None:
            return share or Share()
        if share is None or share.is_whole != (self._places == 1):
            return None
        cents, memory = self._size(share)
        return share if cents <= self._machine.cpu_cores * CENTS and memory <= self._machine.memory else None

    def _size(self, share: Share) -> tuple[int, int]:
        """Hundredths of a core, and MiB."""
        cores = self._machine.cpu_cores if share.cpu_cores is None else share.cpu_cores
        return round(cores * CENTS), self._machine.memory if share.memory is None else share.memory

    def _take(self, share: Share) -> None:
        cents, memory = self._size(share)
        self._cents -= cents
        self._memory -= memory

    def _share(self, wanted: HardwareSpec) -> Share:
        if self.is_full:
            raise Paused("The job waits for cores and memory that other jobs hold.")
        if self._places == 1:
            return Share()
        cents = _amount(
            wanted.cpu_cores, CENTS, self._machine.cpu_cores * CENTS, self._part[0], self._cents, "cores"
        )
        declared = max(wanted.memory, SMALLEST_LIMIT) if wanted.memory else None
        memory = _amount(declared, 1, self._machine.memory, self._part[1], self._memory, "MiB of memory")
        return Share(cpu_cores=cents / CENTS, memory=memory)

    def _gpus(self, job: Job, settled: bool) -> tuple[str, ...]:
        """GPUs that the job has or gets. One that had some is never left without: it may need them."""
        there = {gpu.uuid for gpu in self._machine.gpus}
        promised = job.facts.gpus
        if settled and there.issuperset(promised):
            return promised
        mine = [uuid for uuid in promised if uuid in there and (settled or uuid in self._free)]
        if self._places > 1 and _asks_for_gpu(job.spec.hardware):
            return tuple(mine[:1]) or (self._fitting(job.spec.hardware),)
        others = [gpu.uuid for gpu in self.free.gpus if gpu.uuid not in mine]
        found = tuple((mine + others)[: max(1, len(there) // self._places)])
        if promised and not found:
            raise Paused("The job waits for a GPU: the one that it had is gone, and none is free.")
        return found

    def _fitting(self, wanted: HardwareSpec) -> str:
        """The smallest free GPU that will do, so that larger ones are left to those who need them."""
        needed = wanted.gpu_mem or 0
        fitting = [gpu for gpu in self._free.values() if _fits(gpu, wanted)]
        if not fitting:
            raise Paused(f"The job waits for a free GPU that fits it ({_named(wanted)}).")
        return min(fitting, key=lambda gpu: (gpu.free < needed, gpu.memory, -gpu.free, gpu.uuid)).uuid


def holders(jobs: Iterable[Job]) -> list[Job]:
    """Those of the live jobs that hold something, or will: once its container has ended, a job does not."""
    return [job for job in jobs if job.facts.exit is None]


def shared_out(machine: Hardware, places: int, jobs: list[Job], leaving: Iterable[Job] = ()) -> Book:
    """The machine once all ``jobs`` (oldest first) have what they hold, or what they will get first.

    ``leaving``: jobs that have ended and still hold something.
    """
    book = Book(machine, places)
    book.held([*jobs, *leaving])
    for job in jobs:
        with suppress(Paused):
            book.give(job)
    return book


def offered(machine: Hardware, book: Book) -> Free | None:
    """What can be offered for one more job; None: nothing useful.

    What other programs of this machine use of its memory is not offered, nor what they use of a GPU's.
    """
    memory = min(book.free.memory, machine.available)
    return None if book.is_full or book.is_little(memory) else replace(book.free, memory=memory)


def _amount(wanted: int | None, scale: int, whole: int, part: int, free: int, unit: str) -> int:
    """What is declared (at most all there is), or an equal part as far as there is as much."""
    if not wanted or wanted < 0:
        return min(part, free)
    needed = min(wanted * scale, whole)
    if needed > free:
        raise Paused(f"The job waits until others end: it needs {wanted} {unit}, {free / scale:g} are free.")
    return needed


def _asks_for_gpu(wanted: HardwareSpec) -> bool:
    return bool(wanted.gpu_model or wanted.gpu_archi) or (wanted.gpu_mem or 0) > 0


def _fits(gpu: Gpu, wanted: HardwareSpec) -> bool:
    return (
        wanted.gpu_model in (None, "", gpu.model)
        and wanted.gpu_archi in (None, "", gpu.architecture)
        and (wanted.gpu_mem or 0) <= gpu.memory
    )


def _named(wanted: HardwareSpec) -> str:
    memory = f"{wanted.gpu_mem} MiB" if wanted.gpu_mem else ""
    return ", ".join(filter(None, (wanted.gpu_model, wanted.gpu_archi, memory)))
