"""The schema revisions that this version knows, oldest first. Apart, so that looking at it costs nothing."""

KNOWN = ("0001", "0002", "0003")
HEAD = KNOWN[-1]
"""The revision that this version reads and writes; a test holds it against the migrations."""
