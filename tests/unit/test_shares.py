"""How a machine is shared out between jobs, and what is left to be offered."""

from typing import Any

import pytest

from jobfetcher.hardware import Gpu, Hardware
from jobfetcher.shares import Book, Free, Holding, offered, shared_out
from states.errors import Paused
from states.job import Job, Run, Share
from states.spec import JobSpec

SMALL = Gpu("GPU-small", "RTX A5000", 24000, "8.6", free=23000)
LARGE = Gpu("GPU-large", "H100", 80000, "9.0", free=79000)
BUSY = Gpu("GPU-busy", "H100", 80000, "9.0", free=1000)
"""Somebody else's programs use most of its memory."""


def machine(*gpus: Gpu, cpu_cores: int = 8, memory: int = 16000, available: int = 15000) -> Hardware:
    return Hardware(memory, available, cpu_cores, gpus)


def a_job(key: int = 1, **wanted: Any) -> Job:
    return Job(key=key, worker="w", spec=JobSpec.model_validate({"id": str(key), "hardware": wanted}))


def holding(job: Job, cores: float, memory: int, *gpus: str, run: bool = True) -> Job:
    """The job with a share, and with a container if ``run``."""
    made = Run(name=f"run {job.key}", id=str(job.key)) if run else None
    return job.with_facts(share=Share(cpu_cores=cores, memory=memory), gpus=gpus, run=made)


def test_alone_a_job_has_the_whole_machine() -> None:
    """With one place there are no limits, and all GPUs, whatever the job declares."""
    got = Book(machine(SMALL, LARGE), 1).give(a_job(cpu_cores=2, memory=100, gpu_mem=1000))

    assert got == Holding(Share(), ("GPU-large", "GPU-small"))


def test_what_is_not_declared_is_an_equal_part() -> None:
    """Of cores and memory; a core may be divided."""
    book = Book(machine(cpu_cores=2), 3)

    assert [book.give(a_job(key)) for key in (1, 2, 3)] == [
        Holding(Share(cpu_cores=0.66, memory=5333), ())
    ] * 3


def test_what_is_declared_is_held() -> None:
    """Cores and memory each for itself; the rest is an equal part, or as much of it as is free."""
    book = Book(machine(), 2)
    first = book.give(a_job(1, cpu_cores=6))
    second = book.give(a_job(2, memory=3000))

    assert (first.share, second.share) == (
        Share(cpu_cores=6, memory=8000),
        Share(cpu_cores=2, memory=3000),
    )
    assert book.free == Free(0, 5000)


def test_a_job_that_declares_more_than_there_is_has_all_of_it() -> None:
    """As it would have alone: it was offered to us, and may well do."""
    got = Book(machine(), 2).give(a_job(cpu_cores=100, memory=10**6))

    assert got.share == Share(cpu_cores=8, memory=16000)


def test_a_job_waits_for_what_others_hold() -> None:
    """With a sentence that says what is missing."""
    others = [holding(a_job(1), 6, 1000)]
    book = shared_out(machine(), 2, others)

    with pytest.raises(Paused, match=r"^The job waits until others end: it needs 4 cores, 2 are free\.$"):
        book.give(a_job(2, cpu_cores=4))


def test_a_limit_is_never_smaller_than_engines_allow() -> None:
    """A job that declares one MiB gets the least that a container can have."""
    assert Book(machine(), 2).give(a_job(memory=1)).share.memory == 6


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"gpu_mem": 20000}, ("GPU-small",)),
        ({"gpu_mem": 30000}, ("GPU-large",)),
        ({"gpu_model": "H100"}, ("GPU-large",)),
        ({"gpu_archi": "9.0", "gpu_mem": 500}, ("GPU-large",)),
        ({"gpu_mem": 0}, ("GPU-large",)),
        ({"gpu_mem": -1}, ("GPU-large",)),
    ],
    ids=[
        "the smallest that fits",
        "by memory",
        "by model",
        "the emptier of two",
        "asks for none: the emptiest",
        "less than none is none",
    ],
)
def test_a_job_that_asks_for_a_gpu_gets_one_that_fits(
    wanted: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """One, and the larger ones are left to those who need them."""
    assert Book(machine(BUSY, SMALL, LARGE), 2).give(a_job(**wanted)).gpus == expected


def test_jobs_that_ask_for_none_share_the_gpus() -> None:
    """Each gets an equal part, at least one while any is free, and none once all are held."""
    gpus = [Gpu(f"GPU-{number}", "H100", 80000, "9.0", 80000) for number in range(5)]
    two = Book(machine(*gpus), 2)
    many = Book(machine(*gpus[:2]), 3)

    assert [two.give(a_job(key)).gpus for key in (1, 2)] == [("GPU-0", "GPU-1"), ("GPU-2", "GPU-3")]
    assert [many.give(a_job(key)).gpus for key in (1, 2, 3)] == [("GPU-0",), ("GPU-1",), ()]


def test_a_gpu_that_is_held_is_waited_for() -> None:
    """By a job that asks for one; the sentence says which."""
    book = shared_out(machine(SMALL), 2, [holding(a_job(1), 1, 1000, "GPU-small")])

    with pytest.raises(
        Paused, match=r"^The job waits for a free GPU that fits it \(RTX A5000, 1000 MiB\)\.$"
    ):
        book.give(a_job(2, gpu_model="RTX A5000", gpu_mem=1000))


def test_a_gpu_that_vanished_is_replaced() -> None:
    """As long as there is no container: by one that fits, free of others."""
    lost = holding(a_job(1, gpu_mem=1000), 1, 1000, "GPU-gone", run=False)
    other = holding(a_job(2), 1, 1000, "GPU-small")
    book = Book(machine(SMALL, LARGE), 2)
    book.held([lost, other])

    assert book.give(lost) == Holding(Share(cpu_cores=1, memory=1000), ("GPU-large",))


@pytest.mark.row(46)
@pytest.mark.parametrize("places", [1, 2])
def test_a_job_that_had_a_gpu_never_runs_without(places: int) -> None:
    """A driver that broke meanwhile is waited for: the job would only fail, or take for ever."""
    share = Share() if places == 1 else Share(cpu_cores=1, memory=1000)
    job = a_job().with_facts(share=share, gpus=("GPU-gone",))

    with pytest.raises(Paused, match=r"waits for a GPU: the one that it had is gone, and none is free\.$"):
        Book(machine(), places).give(job)


def test_a_container_keeps_what_it_was_made_with() -> None:
    """Whatever became of the machine and of MAX_JOBS meanwhile."""
    running = holding(a_job(1), 6, 9000, "GPU-gone")
    whole = a_job(2).with_facts(share=Share(), run=Run(name="r", id="i"))

    assert Book(machine(cpu_cores=2), 3).give(running) == Holding(
        running.facts.share or Share(), ("GPU-gone",)
    )
    assert Book(machine(cpu_cores=2), 3).give(whole) == Holding(Share(), ())


@pytest.mark.parametrize(
    ("before", "places", "expected"),
    [
        (Share(), 2, Share(cpu_cores=4, memory=8000)),
        (Share(cpu_cores=1, memory=100), 1, Share()),
        (Share(cpu_cores=1, memory=100), 2, Share(cpu_cores=1, memory=100)),
        (Share(cpu_cores=9, memory=100), 2, Share(cpu_cores=4, memory=8000)),
    ],
    ids=["more places", "one place", "kept", "the machine has shrunk"],
)
def test_a_share_without_a_container_follows_the_settings(
    before: Share, places: int, expected: Share
) -> None:
    """It is kept as long as it can be."""
    assert Book(machine(), places).give(a_job().with_facts(share=before)).share == expected


@pytest.mark.parametrize(
    ("found", "places", "expected"),
    [
        (machine(SMALL, BUSY), 2, Free(8, 15000, (SMALL, BUSY))),
        (machine(available=700), 2, Free(8, 700)),
        (machine(available=300), 2, None),
        (machine(memory=300, available=160), 1, Free(8, 160)),
    ],
    ids=["the emptiest GPU first", "what others use of the memory", "too little of it", "a small machine"],
)
def test_what_is_offered_is_what_can_be_had(found: Hardware, places: int, expected: Free | None) -> None:
    """Nothing is offered once too little is left to be of use."""
    assert offered(found, Book(found, places)) == expected


def test_nothing_is_offered_while_less_than_a_core_is_free() -> None:
    """Unless an equal part is smaller: that is what the operator wants."""
    taken = [holding(a_job(1), 7.5, 1000)]
    few, many = machine(), machine(cpu_cores=1)

    assert offered(few, shared_out(few, 2, taken)) is None
    assert offered(many, shared_out(many, 4, [holding(a_job(1), 0.25, 1000)])) == Free(0.75, 15000)


def test_what_a_job_will_take_is_set_aside() -> None:
    """A job that was just taken on holds nothing yet; what it will get is not offered to the next."""
    found = machine(SMALL, LARGE)

    assert offered(found, shared_out(found, 2, [a_job(1, gpu_model="H100")])) == Free(4, 8000, (SMALL,))


def test_a_job_of_an_earlier_version_holds_the_whole_machine() -> None:
    """Its container was made without limits, with the GPUs that it names."""
    old = a_job().with_facts(gpus=("GPU-small",), run=Run(name="r", id="i"))
    found = machine(SMALL, LARGE)
    book = shared_out(found, 2, [old])

    assert (book.free, offered(found, book)) == (Free(0, 0, (LARGE,)), None)
