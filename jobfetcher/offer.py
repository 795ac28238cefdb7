"""What the API is told that this machine has for one more job: what is free, asked anew each time."""

from collections.abc import Callable
from itertools import count

from jobfetcher.hardware import Gpu
from jobfetcher.settings import Settings
from jobfetcher.shares import Free
from states.ports import Resources


def resources(settings: Settings, free: Free, turn: int = 0) -> Resources:
    """Free cores are told rounded down. The API hears of one GPU: the one with most free memory, or, where
    there are several models, of each model's in ``turn``, for a job may ask for any of them.
    """
    models = _best_of_each_model(free)
    gpu = models[turn % len(models)] if models else None
    return Resources(
        memory=free.memory,
        cpu_cores=int(free.cpu_cores),
        gpu_mem=gpu.free if gpu else 0,
        gpu_model=gpu.model if gpu else None,
        gpu_archi=gpu.architecture if gpu else None,
        groups=settings.groups,
        older_than=settings.older_than,
    )


def _best_of_each_model(free: Free) -> list[Gpu]:
    best: dict[tuple[str, str], Gpu] = {}
    for gpu in free.gpus:
        best.setdefault((gpu.model, gpu.architecture), gpu)
    return list(best.values())


class Offers:
    """Makes each offer from what is ``free`` then (None: nothing useful), and remembers the last one."""

    def __init__(self, settings: Settings, free: Callable[[], Free | None]) -> None:
        self._settings = settings
        self._free = free
        self._turns = count()
        self.last = resources(settings, Free(0, 0))

    def __call__(self) -> Resources | None:
        free = self._free()
        self.last = resources(self._settings, free or Free(0, 0), next(self._turns))
        return self.last if free else None
