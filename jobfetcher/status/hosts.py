"""Who may be asked for: a page of another site whose name was made to mean this machine may not look in."""

import ipaddress


def is_ours(header: str | None, host: str) -> bool:
    """``header`` (a request's ``Host``) names this machine's loopback, or ``host`` (STATUS_HOST).

    Where that is every address of the machine, any address will do: only a name can be made to lie.
    """
    asked = bare(header or "")
    if asked == "localhost" or asked == host.lower():
        return True
    address = _address(asked)
    if address is None:
        return False
    own = _address(host)
    return address.is_loopback or (own is not None and (own.is_unspecified or own == address))


def bare(header: str) -> str:
    """The host without its port and brackets, in lower case."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
