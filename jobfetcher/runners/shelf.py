"""The images that our own pulls have brought: where the disk fills up, those that no job has wanted for
longest are removed.

An image that was in the engine before our pull is never touched, nor one that a live job needs. What
containers use, anybody's, the engine itself refuses to remove.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from jobfetcher.disk import Disk
from jobfetcher.runners.engine import Refused
from jobfetcher.runners.images import full_name, reference
from persistence.images import PulledImage, PulledImages
from states.errors import JobFailed, Paused
from states.job import Job

log = logging.getLogger(__name__)


class ImageEngine(Protocol):
    """What the shelf asks of an engine. Every call may raise ``Paused``."""

    def local_images(self) -> list[str]:
        """Exact ids of all images."""

    def image(self, name: str) -> dict[str, Any] | None:
        """The engine's account of an image by its id or a reference; None if there is none."""

    def remove_image(self, name: str) -> None:
        """Remove a reference, and with its last one the image. Never by force. Raises ``Refused``."""


class Shelf:
    """Implements ``jobfetcher.runners.images.Account``. ``jobs`` lists those whose images are needed."""

    def __init__(
        self, engine: ImageEngine, pulled: PulledImages, jobs: Callable[[], list[Job]], disk: Disk
    ) -> None:
        self._engine = engine
        self._pulled = pulled
        self._jobs = jobs
        self._disk = disk
        self._lock = threading.Lock()

    def before_layers(self) -> Collection[str]:
        """Make room for what comes, and say what is there. Without an answer everything counts as there."""
        try:
            self.make_room()
            return frozenset(self._engine.local_images())
        except (Paused, OSError) as error:
            log.warning("images.not-counted", extra={"reason": str(error)})
            return EVERYTHING

    def arrived(self, image_id: str, name: str, before: Collection[str] | None) -> None:
        """See ``Account.arrived``. A further name of an image that we have brought is ours, too."""
        ours = any(image_id == image.image_id for image in self._pulled.oldest_first())
        if ours or (before is not None and image_id not in before):
            self._pulled.pulled(image_id, name)

    def make_room(self) -> str:
        """Remove images until enough is free. Returns a sentence if too little is, empty if there is room."""
        with self._lock:
            if self._disk.images_are_in_the_way():
                self._remove_oldest_first()
        return self._disk.shortage()

    def _remove_oldest_first(self) -> None:
        needed = _needed(self._jobs())
        for image in self._pulled.oldest_first():
            if not self._disk.images_are_in_the_way():
                return
            if image.image_id in needed or not needed.isdisjoint(image.references):
                continue
            before = self._disk.free_for_images()
            if not self._remove(image):
                continue
            freed = max(0, self._disk.free_for_images() - before)
            log.info("image.removed", extra={"image": image.references[-1], "bytes": freed})
            if not (freed or self._disk.shows_images):
                return  # they lie on another disk

    def _remove(self, image: PulledImage) -> bool:
        """Whether it is gone now, and was not before. What others call by a name of their own stays, and is
        no longer ours."""
        removed = False
        try:
            for name in self._names(image):
                self._engine.remove_image(name)
                removed = True
        except Refused as in_use:
            log.debug("image.stays", extra={"image": image.image_id, "reason": str(in_use)})
            return False
        self._pulled.forget(image.image_id)
        return removed and self._engine.image(image.image_id) is None

    def _names(self, image: PulledImage) -> Iterable[str]:
        """Our own names of it, as far as they still mean it; its id once it has no name at all."""
        for name in image.references:
            found = self._engine.image(name)
            if found is not None and found["Id"] == image.image_id:
                yield name
        found = self._engine.image(image.image_id)
        if found is not None and not found.get("RepoTags"):
            yield image.image_id


class _Everything(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


EVERYTHING: Collection[str] = _Everything()


def _needed(jobs: Iterable[Job]) -> set[str]:
    """Ids and references of the images of jobs."""
    found = set()
    for job in jobs:
        if job.facts.image_id:
            found.add(job.facts.image_id)
        try:
            found.add(full_name(*reference(job.spec.handler.image_url)))
        except JobFailed:
            continue
    return found
