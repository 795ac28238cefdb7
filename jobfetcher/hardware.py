"""What this machine has, and what of it is in use: memory, cores and GPUs. The only file that asks NVML."""

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jobfetcher import cgroup
from jobfetcher.units import MIB

log = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
"""What NVML is called. It comes with NVIDIA's driver."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML describes it, or one instance of a GPU that is split (MIG)."""

    uuid: str
    """What a container asks for; of an instance it begins with ``MIG-``."""
    model: str
    """Of an instance: its GPU's."""
    memory: int
    """MiB."""
    architecture: str
    """Compute capability, e.g. ``8.6``."""
    free: int
    """MiB that no process uses, whoever started it."""


@dataclass(frozen=True)
class Hardware:
    """What the machine has. Memory is in MiB."""

    memory: int
    available: int
    """What of the memory can be had now without swapping."""
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()


class Machine:
    """Looks at this machine as often as one likes: the GPUs' driver stays open between two looks."""

    def __init__(self, library: str = LIBRARY) -> None:
        self._driver = _Driver(library)

    def look(self) -> Hardware:
        """Ask the machine, within the limits of this process's cgroup. A broken driver is a warning."""
        memory, available = cgroup.memory_mib(), cgroup.available_mib()
        return Hardware(memory, min(memory, available), cgroup.cpu_cores(), self._driver.gpus())

    def close(self) -> None:
        """Let the driver go. It is opened again by the next look."""
        self._driver.close()


def collect() -> Hardware:
    """One look at the machine."""
    machine = Machine()
    try:
        return machine.look()
    finally:
        machine.close()


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; none where there is no driver."""
    driver = _Driver()
    try:
        return driver.gpus()
    finally:
        driver.close()


def cards(gpus: tuple[Gpu, ...]) -> int:
    """How many device files these GPUs have at least: the instances of a split one share its own."""
    return len({"MIG" if gpu.uuid.startswith("MIG-") else gpu.uuid for gpu in gpus})


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Within the block, what a search for GPUs complains of is put into this list and not logged."""
    heard = _Heard()
    log.addHandler(heard)
    passed_on, log.propagate = log.propagate, False
    try:
        yield heard.said
    finally:
        log.removeHandler(heard)
        log.propagate = passed_on


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        which = f"GPU {record.gpu}: " if hasattr(record, "gpu") else ""
        self.said.append(f"{which}{getattr(record, 'error', record.getMessage())}")


class _Driver:
    """NVML, opened at the first look that finds it and again after each trouble. Says each trouble once.

    Without a display, opening it can take a second for each GPU.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = library
        self._open = False
        self._troubles: dict[str, str] = {}

    def gpus(self) -> tuple[Gpu, ...]:
        known, self._troubles = self._troubles, {}
        found = self._found() if self._open or _is_there(self._library) else ()
        for what, error in self._troubles.items():
            if what not in known:
                lost = {"gpu": int(what)} if what else {}
                event = "hardware.gpu-lost" if what else "hardware.gpu-driver-broken"
                log.warning(event, extra={**lost, "error": error})
        if self._troubles:
            self.close()  # what comes back is seen by those who open it anew
        elif known:
            log.info("hardware.gpus-are-back", extra={"gpus": len(found)})
        return found

    def close(self) -> None:
        if self._open:
            import pynvml

            self._open = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _found(self) -> tuple[Gpu, ...]:
        import pynvml  # a part of the worker's memory and of its start: only where there is a driver

        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            if not isinstance(error, pynvml.NVMLError_LibraryNotFound):
                self._troubles[""] = str(error)
            return ()
        return tuple(gpu for index in range(count) for gpu in self._gpus_at(pynvml, index))

    def _gpus_at(self, pynvml: Any, index: int) -> list[Gpu]:
        """A GPU or its instances; none if it fell off the bus, which must not take the others along."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            model = str(pynvml.nvmlDeviceGetName(handle))
            parts = _instances(pynvml, handle) if _is_split(pynvml, handle) else [handle]
            return [_gpu(pynvml, part, model, f"{major}.{minor}") for part in parts]
        except pynvml.NVMLError as error:
            self._troubles[str(index)] = str(error)
            return []


def _is_there(library: str) -> bool:
    """Whether it can be loaded. Where it cannot this costs little, again and again."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _gpu(pynvml: Any, handle: Any, model: str, architecture: str) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    return Gpu(uuid, model, int(memory.total // MIB), architecture, int(memory.free // MIB))


def _is_split(pynvml: Any, handle: Any) -> bool:
    """Whether the GPU is in MIG mode; most cannot be, and older drivers do not know the question."""
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return False
    return bool(current)


def _instances(pynvml: Any, handle: Any) -> list[Any]:
    """Handles of a split GPU's instances; their numbers may have gaps."""
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(pynvml.NVMLError_NotFound):
            found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    return found


@dataclass(frozen=True)
class GpuUsage:
    """What one GPU is doing. ``None``: its driver does not say."""

    uuid: str
    model: str
    memory: int
    """MiB."""
    memory_used: int
    """MiB that processes use. What the driver keeps for itself is neither used nor free."""
    busy: int | None
    """Percent of the last moments."""
    celsius: int | None


@contextmanager
def gpu_usage() -> Iterator[Callable[[], tuple[GpuUsage, ...]]]:
    """Within the block each call reads all GPUs; none where there is no driver, or it is broken.

    The driver is opened once: without a display that can take a second for each GPU.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield tuple
        return
    try:
        yield lambda: _all_usage(pynvml)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _all_usage(pynvml: Any) -> tuple[GpuUsage, ...]:
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return ()
    found = [_usage(pynvml, index) for index in range(count)]
    return tuple(usage for usage in found if usage is not None)


def _usage(pynvml: Any, index: int) -> GpuUsage | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = _memory_in_use(pynvml, handle)
        name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError:
        return None
    busy = celsius = None
    with suppress(pynvml.NVMLError):  # a GPU that is split (MIG) does not say
        busy = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    with suppress(pynvml.NVMLError):
        celsius = int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    return GpuUsage(str(uuid), str(name), memory.total // MIB, memory.used // MIB, busy, celsius)


def _memory_in_use(pynvml: Any, handle: Any) -> Any:
    """``total`` and ``used`` in bytes, as ``nvidia-smi`` has them; older drivers count their own part in."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetMemoryInfo(handle)
