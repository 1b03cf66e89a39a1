"""Files of a Hugging Face hub or a mirror of it: what it says about one, and its bytes, resumed where they broke off.

huggingface_hub knows the addresses, HF_ENDPOINT, redirects and the progress bar, and continues a cut connection. The
part file is ours: it lies beside the target, belongs to one version of the file, and outlives the process, which
huggingface_hub's own does not. No token is sent. Knows no table of models.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infinitetalk.disk import discard, explained
from infinitetalk.errors import InputError

if not os.environ.get("HF_ENDPOINT", "").strip():
    os.environ.pop("HF_ENDPOINT", None)  # huggingface_hub, which reads it on import, would take "" for an address
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError  # noqa: E402
from huggingface_hub.file_download import http_get  # noqa: E402
from huggingface_hub.utils import build_hf_headers, logging  # noqa: E402

logging.set_verbosity_error()  # its warnings on every attempt; what is left of them, `fetch` says in two lines

# What is raised when a request fails: in every version of huggingface_hub OSErrors, or errors of the library below it,
# and ValueErrors for a redirect to what is no address.
FAILED = (OSError, HfHubHTTPError.__bases__[0], ValueError)
MIRROR = "For a mirror set HF_ENDPOINT to its address."
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Remote:
    """One version of a file as the hub describes it.

    url: of just this version; size: bytes; version: its ETag; sha256: None for a small file, of which the hub tells
    only Git's hash.
    """

    url: str
    size: int
    version: str

    @property
    def sha256(self) -> str | None:
        return self.version if _SHA256.fullmatch(self.version) else None


def look(repository: str, path: str, revision: str) -> Remote:
    """Ask the hub about a file, without fetching it. InputError when it has none, or cannot be asked."""
    endpoint = constants.ENDPOINT
    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
        raise InputError(f"HF_ENDPOINT: {endpoint!r} is no address.", "Give one such as https://huggingface.co.")
    what = f"{repository}: {path} (revision {revision})"
    try:
        seen = get_hf_file_metadata(hf_hub_url(repository, path, revision=revision), token=False)
    except FAILED as error:
        raise _refusal(error, what) from error
    if not seen.etag or seen.size is None:
        raise InputError(
            f"{what}: {endpoint} does not tell its version and size, as a hub does.",
            "Set HF_ENDPOINT to a hub's address, or leave it out.",
        )
    return Remote(hf_hub_url(repository, path, revision=seen.commit_hash or revision), seen.size, seen.etag)


def part_path(target: Path, remote: Remote) -> Path:
    """Where the bytes of this version gather until they are complete."""
    return target.with_name(f"{target.name}.{re.sub('[^0-9A-Za-z]', '', remote.version)[:16]}.part")


def arrived(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def fetch(remote: Remote, part: Path, label: str) -> None:
    """Bring `part` to the whole length of the file, from where it stands; a cut connection is taken up again.

    Raises InputError for a hub that stops giving and for a disk that is full. What has arrived stays, except more
    bytes than the file has; without any there is no file.
    """
    try:
        _fetch(remote, part, label)
    except BaseException:  # Ctrl-C too
        if not arrived(part):
            discard(part)
        raise


def _fetch(remote: Remote, part: Path, label: str) -> None:
    with explained(part):
        while True:
            before = arrived(part)
            try:
                with open(part, "ab") as file:
                    http_get(
                        remote.url,
                        file,
                        resume_size=before,
                        headers=build_hf_headers(token=False),
                        expected_size=remote.size,
                        displayed_filename=label,
                    )
                return
            except FAILED as error:
                if getattr(error, "errno", None) is not None:
                    raise  # the disk's
                if arrived(part) > remote.size:
                    discard(part)
                    raise InputError(
                        f"{label}: {constants.ENDPOINT} sent more than the {remote.size:,} bytes it had told.",
                        f"They were removed. Run the same command again. {MIRROR}",
                    ) from error
                there = arrived(part)  # less than before, where the hub began anew
                if there <= before:
                    kept = f"{there:,} of {remote.size:,} bytes are on the disk" if there else "nothing has arrived"
                    raise InputError(
                        f"{label}: {kept}, {constants.ENDPOINT} gives no more ({_reason(error)}).",
                        "Run the same command again" + (": it goes on from there." if there else "."),
                    ) from error


def _refusal(error: Exception, what: str) -> InputError:
    """Why the hub said nothing about a file."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return InputError(
            f"{what}: {constants.ENDPOINT} shows no such repository without a token (status {status}).",
            "Look whether it was renamed, made private or asks for an agreement. Files fetched by hand can be put into "
            "the folder that `models list` names.",
        )
    if status == 404:
        return InputError(
            f"{what}: {constants.ENDPOINT} has no such file (status 404).",
            "It was moved or removed, or the mirror lacks it: try without HF_ENDPOINT, or give a corrected table with "
            "--table.",
        )
    if status is not None:
        return InputError(f"{what}: {constants.ENDPOINT} answered with status {status}.", f"Try again later. {MIRROR}")
    if isinstance(error, ValueError) or type(error).__name__ in ("RemoteProtocolError", "TooManyRedirects"):
        return InputError(
            f"{what}: {constants.ENDPOINT} answers, but not as a hub does ({_reason(error)}).",
            "Set HF_ENDPOINT to a hub's address, or leave it out; a proxy on the way may be the cause too.",
        )
    return InputError(
        f"{what}: {constants.ENDPOINT} cannot be reached ({_reason(error)}).",
        f"Check the network connection and the proxy. {MIRROR}",
    )


def _reason(error: Exception) -> str:
    """The first line of an error; the one behind it where huggingface_hub hides that."""
    hidden = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    return str(hidden or error).strip().split("\n")[0] or type(error).__name__
