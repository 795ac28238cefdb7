"""What the API is told of what is free."""

from jobfetcher.hardware import Gpu
from jobfetcher.offer import Offers, resources
from jobfetcher.settings import Settings
from jobfetcher.shares import Free
from states.ports import Resources

SETTINGS = Settings.model_construct(groups=("lab",), older_than=5)
SMALL = Gpu("GPU-1", "RTX A5000", 24000, "8.6", free=23000)
LARGE = Gpu("GPU-2", "H100", 80000, "9.0", free=79000)
LARGER = Gpu("GPU-3", "H100", 80000, "9.0", free=80000)


def test_cores_are_rounded_down_and_memory_is_what_is_free() -> None:
    """With the settings' groups and patience."""
    assert resources(SETTINGS, Free(3.66, 5000)) == Resources(
        memory=5000, cpu_cores=3, groups=("lab",), older_than=5
    )


def test_of_each_model_the_emptiest_gpu_is_offered_in_turn() -> None:
    """The API hears of one GPU at a time; whoever asks for the other model is not left out for ever."""
    offers = Offers(SETTINGS, lambda: Free(1, 1000, (LARGER, LARGE, SMALL)))
    told = [offer for offer in (offers() for _ in range(3)) if offer is not None]

    assert [(offer.gpu_model, offer.gpu_archi, offer.gpu_mem) for offer in told] == [
        ("H100", "9.0", 80000),
        ("RTX A5000", "8.6", 23000),
        ("H100", "9.0", 80000),
    ]


def test_nothing_useful_is_no_offer() -> None:
    """What can be seen of the worker shows nothing, then."""
    offers = Offers(SETTINGS, lambda: None)

    assert (offers(), offers.last.memory, offers.last.cpu_cores) == (None, 0, 0)
