"""What the engine says of a pull, summed up over the layers."""

import json
from typing import Any

import pytest

from jobfetcher.progress import Meter
from jobfetcher.runners.images import Layers, PullFailed, _follow


def message(
    status: str, layer: str = "", current: int | None = None, total: int | None = None
) -> dict[str, Any]:
    detail = {} if current is None else {"current": current, "total": total}
    return {"status": status, "id": layer, "progressDetail": detail}


PULL = [
    message("Pulling from lab/decode", "v1"),
    message("Already exists", "a0"),
    message("Pulling fs layer", "b1"),
    message("Pulling fs layer", "c2"),
    message("Waiting", "c2"),
    message("Downloading", "b1", 100, 1000),
    message("Downloading", "b1", 600, 1000),
]
REST = [
    message("Downloading", "c2", 50, 200),
    message("Verifying Checksum", "b1"),
    message("Download complete", "b1"),
    message("Extracting", "b1", 32, 1000),
    message("Pull complete", "b1"),
    message("Download complete", "c2"),
    message("Pull complete", "c2"),
    message("Status: Downloaded newer image for lab/decode:v1"),
]


def heard(*messages: dict[str, Any]) -> tuple[int, int | None, int, int | None]:
    meter = Meter("pull")
    layers = Layers(meter)
    for said in messages:
        layers.hear(said)
    reading = meter.read()
    return reading.done, reading.total, reading.files, reading.files_total


def test_bytes_are_summed_over_the_layers_that_come() -> None:
    """A layer that is here already has no part in it; a total is told once every layer has a size."""
    assert (600, None, 0, 2) == heard(*PULL)
    assert (650, 1200, 0, 2) == heard(*PULL, REST[0])


def test_a_pull_that_is_over_is_whole() -> None:
    """Unpacking does not count a layer's bytes again; the engine skips steps of small layers."""
    assert (1200, 1200, 2, 2) == heard(*PULL, *REST)


def test_a_second_try_counts_no_layer_twice() -> None:
    """What broke off begins again, or is here already by then."""
    again = [message("Pulling fs layer", "b1"), message("Downloading", "b1", 10, 1000)]
    late = message("Already exists", "c2")

    assert (10, 1000, 1, 2) == heard(*PULL, *again, late)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"status": "Downloading", "id": "b1"},
        {"status": "Downloading", "id": "b1", "progressDetail": None},
        {"status": "Downloading", "id": "b1", "progressDetail": {"current": 700}},
    ],
    ids=["empty", "no detail", "null", "no total"],
)
def test_what_an_engine_leaves_out_is_not_missed(odd: dict[str, Any]) -> None:
    """Engines differ in what they tell; a pull never fails for its meter."""
    assert heard(*PULL, odd)[1:] == (None, 0, 2)


def test_the_stream_is_read_to_its_end_and_its_error_raised() -> None:
    """Lines may be torn between chunks; an error inside the stream is still the pull's failure."""
    text = "".join(json.dumps(said) + "\r\n" for said in PULL).encode()
    meter = Meter("pull")

    _follow(iter([text[:37], text[37:]]), Layers(meter))
    with pytest.raises(PullFailed, match="no such tag"):
        _follow(iter([b'{"error": "no such tag"}']), Layers(meter))

    assert meter.read().done == 600
