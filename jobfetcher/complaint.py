"""The system's errors as sentences for people."""

import errno


def sentence(error: Exception) -> str:
    """What happened and what to do; an error that is not the system's says it itself."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"There is no space left on the disk{_of(error)}; free some."
    if error.filename is None:
        return str(error)
    why = (error.strerror or type(error).__name__).lower()
    return f"{_name(error)} cannot be used ({why}); check the path, its permissions and its disk."


def _of(error: OSError) -> str:
    return "" if error.filename is None else f" of {_name(error)}"


def _name(error: OSError) -> str:
    return str(error.filename).encode(errors="replace").decode()
