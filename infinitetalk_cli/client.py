"""A client of ComfyUI's HTTP queue: upload inputs, queue a workflow in API format, follow it, fetch its outputs.

Knows the host only through its address. Needs aiohttp (the host has it) for the websocket, and only then; everything
else is plain HTTP. Files pass in blocks, however large they are. Every failure of the host is a HostError whose first
line says what the host said.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infinitetalk.errors import InputError
from infinitetalk.sizes import size_text

from .address import host_address

BLOCK = 1 << 20
Report = Callable[[str, int, int], None]  # node, value, maximum


class HostError(RuntimeError):
    """The host refused a workflow or failed while running it.

    details: what the host sent, as it sent it: the body of a refused prompt, or the event of a failed one.
    """

    def __init__(self, message: str, details: dict | None = None):
        super().__init__(message)
        self.details = details or {}


class HostGone(HostError):
    """Nobody answers at the host's address, or the connection broke. The last line says what to do."""


def refusal(body: dict) -> str:
    """The text of a refused prompt (HTTP 400): one line per complaint, the node first."""
    lines = []
    for node, entry in (body.get("node_errors") or {}).items():
        for error in entry["errors"]:
            details = f": {error['details']}" if error.get("details") else ""
            lines.append(f"{entry['class_type']} (node {node}): {error['message']}{details}")
    error = body.get("error") or {}
    if not lines:
        lines = [f"{error.get('message', body)}: {error.get('details', '')}".rstrip(": ")]
    return "\n".join(lines)


def failure(history: dict) -> HostError | None:
    """The error of a finished prompt's history entry, or None when it succeeded."""
    for name, event in history["status"]["messages"]:
        if name == "execution_error":
            where = f"{event['node_type']} (node {event['node_id']})"
            return HostError(f"{where}: {event['exception_message'].strip()}", event)
        if name == "execution_interrupted":
            return HostError(f"{event['node_type']} (node {event['node_id']}): interrupted", event)
    if not history["status"]["completed"]:
        return HostError("The prompt ended without an error and without being completed.", history["status"])
    return None


def output_files(history: dict) -> list[dict]:
    """Every file a finished prompt left, as {"filename", "subfolder", "type"}; saved ones before temporary ones."""
    found = []
    for outputs in history["outputs"].values():
        for entries in outputs.values():
            found += [entry for entry in entries if isinstance(entry, dict) and "filename" in entry]
    unique = {(entry["type"], entry["subfolder"], entry["filename"]): entry for entry in found}
    return sorted(unique.values(), key=lambda entry: entry["type"] != "output")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends well and vanishes when it does not."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Client:
    """One host, by its address (http://127.0.0.1:8188, or without the scheme). InputError for what is no address."""

    def __init__(self, url: str):
        self.url = host_address(url)

    def request(self, path: str, data: bytes | None = None, content_type: str = "application/json") -> bytes:
        """GET, or POST when there is data. HTTP errors come back as HostError with the host's own words."""
        return b"".join(self.blocks(path, data, {"Content-Type": content_type} if data else {}))

    def blocks(self, path: str, data: bytes | Iterable[bytes] | None, headers: dict[str, str]) -> Iterator[bytes]:
        """The answer to a request, block by block. Data in pieces needs a Content-Length among the headers."""
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                while block := answer.read(BLOCK):
                    yield block
                if answer.length:
                    what = f"{path}: the host broke off {answer.length} bytes before the end."
                    raise HostGone(f"{what}\nSee that it still runs, then give the same command again.")
        except urllib.error.HTTPError as error:
            body = error.read().decode("utf-8", "replace")
            try:
                details = json.loads(body)
            except ValueError:
                details = None
            if isinstance(details, dict):
                raise HostError(refusal(details), details) from error
            raise HostError(f"{path}: the host answered {error.code} {error.reason}: {body[:300]}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self.gone(error) from error

    def gone(self, error: Exception) -> HostGone:
        return HostGone(
            f"No ComfyUI answers at {self.url}: {getattr(error, 'reason', error)}\n"
            "Start ComfyUI there and check the port, or give --comfyui DIR instead of --server."
        )

    def get(self, path: str) -> dict:
        answer = self.request(path)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise self.gone(ValueError(f"{path} is answered by {answer[:40]!r}")) from error

    def post(self, path: str, body: dict) -> bytes:
        return self.request(path, json.dumps(body).encode())

    def object_info(self, node: str | None = None) -> dict:
        """The host's description of every node class, or of one."""
        return self.get(f"/object_info/{urllib.parse.quote(node)}")[node] if node else self.get("/object_info")

    def upload(self, file: Path, name: str | None = None) -> str:
        """Put a file (of any kind) into the host's input folder, replacing one of that name; its name there.

        InputError for a file larger than the host takes.
        """
        size = file.stat().st_size
        if 0 < self.get("/features")["max_upload_size"] < size:  # 0 is no limit
            raise InputError(
                f"{file}: {size_text(size)} are more than the ComfyUI at {self.url} takes.",
                "Start it with a higher --max-upload-size, or give --comfyui DIR instead of --server.",
            )
        boundary, name = uuid.uuid4().hex, name or file.name
        quoted = name.replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{quoted}"\r\n\r\n'
        tail = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n--{boundary}--\r\n'

        def form() -> Iterator[bytes]:
            yield head.encode()
            with open(file, "rb") as source:
                while block := source.read(BLOCK):
                    yield block
            yield tail.encode()

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head.encode()) + size + len(tail.encode())),
        }
        return json.loads(b"".join(self.blocks("/upload/image", form(), headers)))["name"]

    def save(self, file: dict, path: Path) -> None:
        """Copy one of output_files to `path`, whole or not at all."""
        query = {key: file[key] for key in ("filename", "subfolder", "type")}
        with whole(path) as part, open(part, "wb") as target:
            for block in self.blocks(f"/view?{urllib.parse.urlencode(query)}", None, {}):
                target.write(block)

    def cancel(self, prompt_id: str) -> None:
        """Stop a prompt, whether it waits or runs; nothing happens when it is neither."""
        self.post("/queue", {"delete": [prompt_id]})
        self.post("/interrupt", {"prompt_id": prompt_id})

    def queue(
        self, prompt: dict, report: Report | None = None, timeout: float = 3600, only: list[str] | None = None
    ) -> dict:
        """Run a workflow in API format and return its history entry; HostError when it is refused or fails.

        report is called with the node's title and its progress. timeout: seconds without a word from the host.
        only: the output nodes to run, and what they need; all by default.
        """
        return asyncio.run(self.run(prompt, report or (lambda node, value, maximum: None), timeout, only))

    async def run(self, prompt: dict, report: Report, timeout: float, only: list[str] | None = None) -> dict:
        import aiohttp  # here, so that what needs no websocket runs with any Python

        client = uuid.uuid4().hex
        address = "ws" + self.url.removeprefix("http") + f"/ws?clientId={client}"
        prompt_id = str(uuid.uuid4())
        done = False
        try:
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                body = {"prompt": prompt, "client_id": client, "prompt_id": prompt_id}
                body |= {"partial_execution_targets": only} if only else {}
                accepted = json.loads(await asyncio.to_thread(self.post, "/prompt", body))
                if accepted.get("node_errors"):  # the host would run the outputs that are left; here all must run
                    raise HostError(refusal(accepted), accepted)
                await self.follow(socket, prompt, prompt_id, report, timeout)
                done = True
        except aiohttp.ClientError as error:
            raise self.gone(error) from error
        finally:
            if not done:  # cancelled or timed out: do not leave the host working for nobody
                await asyncio.to_thread(self.give_up, prompt_id)
        history = self.get(f"/history/{prompt_id}")[prompt_id]
        error = failure(history)
        if error:
            raise error
        return history

    def give_up(self, prompt_id: str) -> None:
        try:
            self.cancel(prompt_id)
        except HostError:
            return  # the host is gone, so nothing runs

    async def follow(self, socket, prompt: dict, prompt_id: str, report: Report, timeout: float) -> None:
        """Read the host's events until the prompt has ended, well or not."""
        from aiohttp import WSMsgType

        def title(node: str) -> str:
            entry = prompt.get(str(node).split(".")[0], {})
            return entry.get("_meta", {}).get("title") or entry.get("class_type") or str(node)

        while True:
            try:
                message = await socket.receive(timeout)
            except asyncio.TimeoutError as error:
                raise HostError(f"The host has said nothing for {timeout:g} s.") from error
            if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                what = "The host closed the connection in the middle of the prompt."
                raise HostGone(f"{what}\nIts log says why. Start it again, then give the same command again.")
            if message.type != WSMsgType.TEXT:
                continue  # a preview picture
            event = json.loads(message.data)
            name, data = event["type"], event.get("data") or {}
            if data.get("prompt_id") != prompt_id:
                continue
            if name == "executing":
                if data["node"] is None:
                    return
                report(title(data["node"]), 0, 0)
            elif name == "progress":
                report(title(data["node"]), data["value"], data["max"])
