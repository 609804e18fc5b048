"""Faults for libcurl's errors, whose own texts may quote the server."""

from __future__ import annotations

import os
import re

import pycurl

from strongroom_vault.http.messages import FaultKind, HttpFault, SendStep
from strongroom_vault.http.tls import is_refusal, tls_fault, untrusted

BROKEN = "the connection broke before the reply was whole"
NO_PROXY = "the proxy does not connect to it"

_REASON = re.compile(r"error:[0-9A-F]+:SSL routines:[^:]*:([a-z0-9 ]+)")
_PROBLEM = re.compile(r"SSL certificate (?:problem|OpenSSL verify result): ([\w ,()'-]+)")

_OWN_SETTINGS = {
    pycurl.E_SSL_CERTPROBLEM: "the client certificate cannot be used",
    pycurl.E_SSL_CACERT_BADFILE: "the file of trusted authorities cannot be read",
}


def fault(easy: pycurl.Curl, code: int, text: str, send: SendStep, *, proxied: bool) -> HttpFault:  # one for each kind
    """Return the fault for a failed request.

    Args:
        easy: its handle, with what libcurl noted.
        code: libcurl's error.
        text: its description, of which only OpenSSL's own words are used.
        send: the request.
        proxied: a proxy was to connect to the server.
    """
    if code == pycurl.E_FILESIZE_EXCEEDED:
        return HttpFault(FaultKind.TOO_LARGE, f"a reply of more than {send.request.longest_reply:,} bytes")
    # Bytes of the request that left, also on a first connection that broke. A tunnel's own request does not count.
    if easy.getinfo(pycurl.REQUEST_SIZE):
        return _lost(code, _openssl_reason(text))
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        found = _PROBLEM.match(text)
        return untrusted(found[1] if found else "it is for another name")
    if code in _OWN_SETTINGS:
        return HttpFault(FaultKind.UNTRUSTED, f"TLS failed: {_OWN_SETTINGS[code]}")
    if code == pycurl.E_SSL_CONNECT_ERROR:
        return tls_fault(_openssl_reason(text))
    return HttpFault(FaultKind.UNREACHABLE, _obstacle(easy, code, proxied=proxied))


def _lost(code: int, reason: str | None) -> HttpFault:
    if is_refusal(reason):
        return tls_fault(reason)
    return HttpFault(FaultKind.LOST, "no whole reply in time" if code == pycurl.E_OPERATION_TIMEDOUT else BROKEN)


def _obstacle(easy: pycurl.Curl, code: int, *, proxied: bool) -> str:
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return "no connection in time"
    if proxied:
        return NO_PROXY
    if code == pycurl.E_COULDNT_RESOLVE_HOST:
        return "the name has no address"
    number = easy.getinfo(pycurl.OS_ERRNO)
    return os.strerror(number) if number else "the connection ended before the request was sent"


def _openssl_reason(text: str) -> str | None:
    """Return OpenSSL's reason in the form of Python's `ssl.SSLError.reason`."""
    found = _REASON.search(text)
    return found[1].strip().upper().replace(" ", "_") if found else None
