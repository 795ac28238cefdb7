"""How property tests run here: the same examples each time, and no deadline for a busy machine to miss."""

from hypothesis import settings

calm = settings(deadline=None, derandomize=True)
