"""Connections for everything that is sent: pools of urllib3, shared by all threads that use them.

Certificates and proxies are those that requests would use. A request runs in the calling thread.
"""

import os
import ssl
import threading
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import certifi
import urllib3
from requests.sessions import SessionRedirectMixin
from requests.utils import get_auth_from_url, get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3.exceptions import ClosedPoolError, HTTPError, LocationValueError, URLSchemeUnknown
from urllib3.util import Url, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from jobfetcher._version import __version__
from jobfetcher.api.lanes import Lane, PlainPool, SecurePool

USER_AGENT = f"jobfetcher/{__version__}"
_ONCE = urllib3.Retry(total=False, redirect=False)
_PORTS = {"http": 80, "https": 443}
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_LOGINS = frozenset(name.lower() for name in urllib3.Retry.DEFAULT_REMOVE_HEADERS_ON_REDIRECT)
_Pool = urllib3.HTTPConnectionPool | urllib3.ProxyManager


class EndlessRedirect(HTTPError):
    """Redirects lead from one place to the next."""


class Connections:
    """Sends requests to any server. Safe from any thread.

    ``size`` connections to each server are kept. ``options`` are those of urllib3's pools.
    """

    def __init__(self, size: int, timeout: urllib3.Timeout, **options: Any) -> None:
        self._options = {"maxsize": size, "timeout": timeout, **options}
        self._lock = threading.Lock()
        self._pools: dict[tuple[str | None, str | None], _Pool] = {}

    def send(
        self,
        lane: Lane,
        method: str,
        url: str,
        headers: dict[str, str],
        follow: int | None = None,
        **more: Any,
    ) -> urllib3.BaseHTTPResponse:
        """The response, its body still to read. ``more`` is what urllib3's ``urlopen`` takes.

        Up to ``follow`` redirects are followed, to other servers without any login. One that would turn the
        request into a GET is given back, and so is every one if ``follow`` is None. Raises urllib3's errors,
        ``EndlessRedirect`` and ``OSError``.
        """
        lane.enter()
        method = method.upper()
        response = self._once(method, url, headers, more)
        while follow is not None and (place := _leads_to(response, method)):
            finish(response, whole=True)
            if not follow:
                raise EndlessRedirect("There are more redirects than are followed.")
            follow -= 1
            there = urljoin(url, place)
            headers, url = _without_login(headers) if _leaves(url, there) else headers, there
            response = self._once(method, url, headers, more)
        return response

    def close(self) -> None:
        """Close all connections that are idle; the next request opens new ones."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.clear() if isinstance(pool, urllib3.ProxyManager) else pool.close()

    def _once(
        self, method: str, url: str, headers: dict[str, str], more: dict[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        where = parse_url(url)
        while True:
            pool = self._pool(where, url)
            target = url if isinstance(pool, urllib3.ProxyManager) else where.request_uri
            try:
                return pool.urlopen(
                    method,
                    target,
                    headers=headers,
                    retries=_ONCE,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    **more,
                )
            except ClosedPoolError:  # meanwhile; nothing was sent
                continue

    def _pool(self, where: Url, url: str) -> _Pool:
        """The pool for that server; looking for its proxy takes as long as half a request."""
        place = (where.scheme, where.netloc)
        with self._lock:
            if place not in self._pools:
                self._pools[place] = _pool(where, select_proxy(url, get_environ_proxies(url)), self._options)
            return self._pools[place]


def turned(response: urllib3.BaseHTTPResponse, method: str) -> bool:
    """It is a redirect that makes a GET of a request that was none."""
    status = response.status
    makes_get = status in (302, 303) or (status == 301 and method == "POST")
    return makes_get and method != "GET" and bool(response.get_redirect_location())


def _leads_to(response: urllib3.BaseHTTPResponse, method: str) -> str:
    return "" if turned(response, method) else response.get_redirect_location() or ""


def finish(response: urllib3.BaseHTTPResponse, whole: bool) -> None:
    """Give the connection back if (almost) nothing is left on it, else close it."""
    if not whole:
        response.close()
    else:
        response.drain_conn() if _short(response) else response.close()
    response.release_conn()


def _short(response: urllib3.BaseHTTPResponse) -> bool:
    left = getattr(response, "length_remaining", None)
    return left is not None and left <= 64 * 1024


def _leaves(url: str, there: str) -> bool:
    """No login must go along to there."""
    return bool(SessionRedirectMixin().should_strip_auth(url, there))  # type: ignore[no-untyped-call]  # requests' own


def _without_login(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _LOGINS}


def _pool(where: Url, proxy: str | None, options: dict[str, Any]) -> _Pool:
    if where.scheme not in _PORTS:
        raise URLSchemeUnknown(str(where.scheme))
    if not where.host:
        raise LocationValueError("No host is named.")
    if proxy is not None:
        return _through(prepend_scheme_if_needed(proxy, "http"), where.scheme, options)  # type: ignore[no-untyped-call]  # requests' own
    port = where.port or _PORTS[where.scheme]
    if where.scheme == "http":
        return PlainPool(where.host, port, **options)
    return SecurePool(where.host, port, ssl_context=_trust(certificates()), **options)


def _through(proxy: str, scheme: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    trust = _trust(certificates()) if "https" in (scheme, urlsplit(proxy).scheme) else None
    name, password = get_auth_from_url(proxy)
    login = urllib3.make_headers(proxy_basic_auth=f"{name}:{password}") if name else None
    manager = urllib3.ProxyManager(
        proxy, proxy_headers=login, proxy_ssl_context=trust, ssl_context=trust, **options
    )
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def certificates() -> str | None:
    """The bundle of certificates, or folder of some, that the machine's environment names, if any."""
    return next((os.environ[name] for name in _BUNDLES if os.environ.get(name)), None)


@cache
def _trust(bundle: str | None) -> ssl.SSLContext:
    """What a server's certificate is checked against. Reading it takes longer than a handshake."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    where = Path(bundle or certifi.where())
    if where.is_dir():
        context.load_verify_locations(capath=where)
    else:
        context.load_verify_locations(where)
    return context
