"""Jobs whose every output is known beforehand: drawn from the seed and the job's number."""

import hashlib
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.soak.actors import drawn

ODD_NAMES = ("a b.txt", "x#1.txt", "grün.txt", "50%20.txt", "what?.txt", "-dash", "it's.txt", "a=b&c.txt")
DELETED = 0.08
"""Share of the jobs that their user deletes."""
DELETED_WITHIN = 15.0
"""Seconds after its submission in which that happens."""
DECLARING = 0.3
"""Share of the jobs that say how much memory they need."""
MEMORY = (64, 100, 256)
"""MiB."""


@dataclass(frozen=True)
class Plan:
    """One job, and what must become of it."""

    number: int
    kind: str
    script: list[str]
    exit_code: int = 0
    inputs: dict[str, bytes] = field(default_factory=dict)
    """Path under ``/files`` → content."""
    produces: dict[str, bytes] | None = None
    """Files in the folder ``output``, by name; None: the job has no output folder."""
    deleted_after: float | None = None
    """Seconds after which the user deletes it."""
    memory: int | None = None
    """MiB that it declares to need."""

    def file_id(self, path: str) -> str:
        return f"/soak/{self.number}/{path.removesuffix('/.')}"

    @property
    def command(self) -> list[str]:
        """Leaves a mark at each start: in the job's folder, and among the outputs if there are any."""
        marks = ["echo start >> /files/starts;"]
        if self.produces is not None:
            marks.append("echo start >> /files/output/starts;")
        said = shlex.quote(self.said.decode().strip())
        return [*marks, *self.script, f"echo {said};", f"exit {self.exit_code}"]

    @property
    def said(self) -> bytes:
        """What the container's log must be."""
        return b"the end of job %d\n" % self.number

    @property
    def outputs(self) -> dict[str, str]:
        """Path of each upload → SHA-256 of what it must be."""
        files = {"log/log/container.log": self.said}
        if self.produces is not None:
            files["output/output/starts"] = b"start\n"
            files |= {f"output/output/{name}": content for name, content in self.produces.items()}
        return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}

    def submission(self, image: str) -> dict[str, Any]:
        """What the user hands in."""
        return {
            "image": image,
            "cmd": self.command,
            "files_down": {path: self.file_id(path) for path in self.inputs} or None,
            "files_up": None if self.produces is None else {"output": "output"},
            "meta": {"job_id": self.number},
            "hardware": {"memory": self.memory},
        }


def plan(seed: int, number: int) -> Plan:
    """Job ``number`` of the soak with that seed."""
    draw = drawn(seed, f"job {number}")
    kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
    deleted_after = draw.uniform(0, DELETED_WITHIN) if draw.random() < DELETED else None
    made = kind(number, draw, deleted_after)
    # Cores are left to the worker: it makes equal parts, so that never more runs fit than it has places.
    return replace(made, memory=draw.choice(MEMORY)) if draw.random() < DECLARING else made


def quick(number: int, draw: random.Random, deleted_after: float | None = None) -> Plan:
    text = f"result {draw.random()}"
    script = [f"echo {text!r} > /files/output/result;"]
    return Plan(number, "quick", script, 0, {}, {"result": f"{text}\n".encode()}, deleted_after)


def _failing(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    script = ["echo before > /files/output/partly;"]
    return Plan(number, "failing", script, draw.randint(1, 120), {}, {"partly": b"before\n"}, deleted_after)


def _bare(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    return Plan(number, "bare", [], draw.choice((0, 0, 3)), deleted_after=deleted_after)


def _many(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    count, word = draw.randint(150, 400), f"w{draw.randrange(10**6)}"
    loop = f"i=0; while [ $i -lt {count} ]; do echo {word} $i > /files/output/f$i; i=$((i+1)); done;"
    produces = {f"f{i}": f"{word} {i}\n".encode() for i in range(count)}
    return Plan(number, "many files", [loop], 0, {}, produces, deleted_after)


def _long(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    # It does not heed a stop: what it holds must not be given away before it is killed.
    script = ["trap '' TERM;", f"sleep {draw.randint(8, 25)};", "echo late > /files/output/late;"]
    return Plan(number, "long", script, draw.choice((0, 0, 0, 9)), {}, {"late": b"late\n"}, deleted_after)


def _copying(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    inputs = {f"data/in{i}": draw.randbytes(draw.randint(0, 700_000)) for i in range(draw.randint(1, 6))}
    produces = {path.removeprefix("data/"): content for path, content in inputs.items()}
    return Plan(number, "copying", ["cp /files/data/* /files/output/;"], 0, inputs, produces, deleted_after)


def _odd(number: int, draw: random.Random, deleted_after: float | None) -> Plan:
    names = draw.sample(ODD_NAMES, 4)
    inputs = {f"data/{name}": draw.randbytes(2000) for name in names} | {"config/.": draw.randbytes(500)}
    produces = {name: inputs[f"data/{name}"] for name in names} | {"config": inputs["config/."]}
    script = ["cp /files/data/* /files/config /files/output/;"]
    return Plan(number, "odd names", script, 0, inputs, produces, deleted_after)


KINDS: dict[Callable[[int, random.Random, float | None], Plan], int] = {
    quick: 36,
    _failing: 14,
    _bare: 10,
    _copying: 16,
    _odd: 10,
    _many: 8,
    _long: 6,
}
"""Kinds of jobs, and how often each is drawn."""
