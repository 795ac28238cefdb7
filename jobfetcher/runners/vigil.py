"""Waits for the end of one run, and says how it ended if that can be believed.

There are two ways to know. Inspection tells all, but the engine answers it only once it has torn the
container's network down; then the engine's life is asked for. The other way is quicker and as good, for a
container whose whole life one stream of events has told (``story.py``): it was started, nothing befell it (no
signal, no lack of memory, no other start), and it ended with 0. Whatever else happened is inspected.
"""

from typing import Any

from jobfetcher.failpoints import failpoint
from jobfetcher.runners.engine import Engine, Watch
from jobfetcher.runners.epoch import Survival, boot_id
from jobfetcher.runners.exits import ever_started, exit_of, is_alive, is_going
from states.errors import RunLost
from states.job import Exit, Run
from states.ports import Stop

PATIENCE_SECONDS = 30.0
"""A wait looks again after this time, even if the engine said nothing."""
SOON_SECONDS = 1.0
"""How much later than the answer to a start the event may be heard that tells it."""
PAUSE_SECONDS = 0.1
"""Between two looks, where the first was in vain."""
NANO = 10**9
KILLED = 137
"""Exit code of a command that was ended by SIGKILL, by whomever."""
REMOVED = "The container was removed by somebody while it ran."
INTERRUPTED = "The container was interrupted when the Docker engine or the machine restarted."


def noted_epoch(watch: Watch) -> str:
    """The epoch as it is or was: one that has passed is safe to note, for nothing is believed in it."""
    return f"{boot_id()}/{watch.life()}"


class Vigil:
    """The wait for the end of ``run``. A container must be seen alive for ``survival_seconds`` after the
    engine's restart to have outlived it. ``fresh``: it was started just now, while events were heard."""

    def __init__(
        self, engine: Engine, watch: Watch, run: Run, survival_seconds: float, fresh: bool = False
    ) -> None:
        self._engine = engine
        self._watch = watch
        self._run = run
        self._survival = Survival(run.epoch, survival_seconds)
        self._patience = SOON_SECONDS if fresh else 0.0

    def end(self, stop: Stop) -> Exit:
        """Return once it has ended. Raises ``RunLost`` and ``Paused`` as ``states.ports.Runner.wait`` does.

        An end is believed if an engine of the same life, asked on a new connection after the end was seen,
        answers: it has not restarted in between, and it did not end the container in order to stop, for then
        it would take no new question. By inspection it is the life in which the container was last seen
        alive. By events it is the life that told them: no other remembers them.
        """
        ended = self._awaited(stop)
        failpoint("docker.exit-seen")
        if isinstance(ended, Exit):
            return ended
        if f"{boot_id()}/{self._engine.life()}" != self._survival.epoch:
            self._watch.renew()
            raise RunLost(INTERRUPTED)
        return self._account(ended)

    def _awaited(self, stop: Stop) -> Exit | dict[str, Any]:
        """The bell is hung up before each look, so that no end falls between the two."""
        woken = False
        while True:
            stop.check()
            with self._watch.expecting(self._run.id) as bell:
                ended = self._heard()
                if ended is None:
                    if woken:  # in vain: whatever woke us must not do so without a pause
                        stop.wait(PAUSE_SECONDS)
                    with stop.interrupts(bell.set):
                        rung = bell.wait(PATIENCE_SECONDS)
                    stop.check()
                    ended = self._heard() if rung else self._overdue()
            if ended is not None:
                return ended
            woken = True

    def _heard(self) -> Exit | dict[str, Any] | None:
        """What the events tell where that is enough, else what inspection finds. None: it lives."""
        story = self._watch.story(self._run.id, self._patience)
        self._patience = 0.0
        if story is None or noted_epoch(self._watch) != self._survival.epoch:
            return self._inspected()
        if story.ended is None:
            return None
        if story.code == 0 and self._engine.remembers(self._run.id, story.ended):
            return Exit(code=0, started_at=story.started / NANO, finished_at=story.ended / NANO)
        return self._inspected()

    def _overdue(self) -> dict[str, Any] | None:
        """An end that no event told: the stream is deaf, and forgotten."""
        found = self._inspected()
        if found is not None:
            self._watch.renew()
        return found

    def _inspected(self) -> dict[str, Any] | None:
        """The container as it is now if it has ended. The epoch is read first: an end belongs to it or to a
        later one."""
        epoch = noted_epoch(self._watch)
        found = self._engine.inspect(self._run.id)
        if found is None or is_going(found):
            raise RunLost(REMOVED)
        if not is_alive(found) and ever_started(found):
            return found
        self._survival.seen(epoch)
        return None

    def _account(self, found: dict[str, Any]) -> Exit:
        # News that memory ran out may come after the exit, and is then not in what is found.
        killed = found["State"]["ExitCode"] == KILLED and not found["State"].get("OOMKilled")
        return exit_of(found, killed and self._engine.out_of_memory(self._run.id))
