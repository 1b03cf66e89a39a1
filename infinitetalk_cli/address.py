"""The address of a ComfyUI as people give it, made one that can be asked. Knows no network."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from infinitetalk.errors import InputError


def host_address(given: str) -> str:
    """`given` with http:// where it names no scheme; InputError for what cannot be an address."""
    address = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(address)
        name = (parts.hostname or "").encode("idna")  # what a request does to it; fails for a name like "a..b"
        fits = parts.scheme in ("http", "https") and name and parts.port != 0 and re.fullmatch(r"[!-~]+", address)
    except ValueError:  # a port that is no number or too large
        fits = False
    if not fits or parts.query or parts.fragment:
        raise InputError(
            f"--server: {given!r} is no address of a ComfyUI.",
            "Give HOST:PORT or a URL, such as http://127.0.0.1:8188.",
        )
    return address.rstrip("/")
