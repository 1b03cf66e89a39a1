"""Fetching model files by the real command from a server that speaks the hub's protocol, and what can go wrong."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

import dev
from tests.unit.hub_server import BLOCK, COMMIT, Hub
from tests.unit.models_place import FILES, LARGE, SMALL, WHOLE, Place, sha256


@pytest.fixture
def hub():
    with Hub(dict(FILES)) as hub:
        yield hub


@pytest.fixture
def place(tmp_path, hub):
    return Place(tmp_path, hub)


def test_a_profile_is_fetched_into_its_folders_and_not_twice(place, hub):
    place.know(LARGE, size=len(FILES[LARGE]), sha256=sha256(FILES[LARGE]))
    code, out, error = place.run("get", program=(dev.ROOT / "dev.py", "models"))
    assert code == 0, error
    assert "1 of 2: diffusion_models/model.safetensors, 25.2 MB" in out and "2 fetched, 0 were there" in out
    assert place.content() == WHOLE
    heads = [request.path for request in hub.requests if request.method == "HEAD"]
    assert heads == ["/owner/large/resolve/main/parts/model.safetensors", "/owner/small/resolve/main/vae.safetensors"]
    assert f"/owner/large/resolve/{COMMIT}/parts/model.safetensors" in [request.path for request in hub.requests]
    # only what the table does not know is recorded, as sha256sum reads it
    (record,) = place.models.rglob("*.sha256")
    assert record == place.path(SMALL).with_name("vae.safetensors.sha256")
    assert record.read_text() == f"{sha256(FILES[SMALL])}  vae.safetensors\n"

    hub.requests.clear()
    code, out, _ = place.run("get")
    assert code == 0 and "0 fetched, 2 were there" in out and hub.requests == []
    assert "checksum of the table" in out and "checksum of the record beside it" in out


def test_a_single_file_is_fetched_by_its_name(place):
    code, _, error = place.run("get", "vae.safetensors")
    assert code == 0 and place.content() == {"vae/vae.safetensors": FILES[SMALL]}, error


def test_no_token_is_sent_and_only_the_mirror_is_asked(place, hub, tmp_path):
    with Hub(dict(FILES)) as mirror:
        code, _, error = place.run("get", environment={"HF_ENDPOINT": f"{mirror.url}/"})
        assert code == 0 and place.content() == WHOLE, error
        assert {request.authorization for request in mirror.requests} == {None}
        assert hub.requests == []


def test_a_renamed_repository_is_followed(place, hub):
    hub.renamed["owner/old"] = "owner/small"
    place.know(SMALL, repository="owner/old")
    code, _, error = place.run("get", "vae.safetensors")
    assert code == 0 and place.path(SMALL).read_bytes() == FILES[SMALL], error


def test_a_cut_connection_is_taken_up_where_it_broke(place, hub):
    hub.cut[LARGE] = 15 * BLOCK
    code, _, error = place.run("get")
    assert code == 0 and place.content() == WHOLE, error
    first, second = hub.fetched(LARGE)
    assert first is None and 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 15 * BLOCK


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_process_that_ended_is_taken_up_by_the_next(place, hub, name):
    process, part = place.start_and_stall()
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == (-9 if name == "SIGKILL" else 130), error
    assert "Traceback" not in error
    kept = part.stat().st_size
    assert 0 < kept <= 15 * BLOCK and not place.path(LARGE).exists()

    hub.stalled.clear()
    code, _, error = place.run("get")
    assert code == 0 and place.content() == WHOLE, error
    assert hub.fetched(LARGE) == [None, f"bytes={kept}-"]


def test_the_part_of_another_version_is_not_taken_up(place, hub):
    process, _ = place.start_and_stall()
    process.kill()
    process.communicate()
    hub.stalled.clear()
    hub.files[LARGE] = FILES[LARGE][::-1]
    code, _, error = place.run("get")
    assert code == 0 and place.content() == {**WHOLE, "diffusion_models/model.safetensors": FILES[LARGE][::-1]}, error
    assert hub.fetched(LARGE) == [None, None]


def test_two_processes_do_not_fetch_one_file(place):
    process, _ = place.start_and_stall()
    place.refused("diffusion_models/model.safetensors: another process is fetching it", "Wait for its end")
    process.kill()
    process.communicate()


def test_what_another_process_has_fetched_meanwhile_is_not_fetched_again(place, hub):
    first, _ = place.start_and_stall()  # knows that both are missing, and is at the large one
    code, out, error = place.run("get", "vae.safetensors")
    assert code == 0 and "1 fetched, 0 were there" in out, error
    hub.stalled.clear()
    hub.ended.set()
    out, error = first.communicate(timeout=60)
    assert first.returncode == 0 and place.content() == WHOLE, error
    assert "is there: vae/vae.safetensors" in out and "1 fetched, 1 were there" in out
    assert hub.fetched(SMALL) == [None]


@pytest.mark.parametrize(("known", "source"), [(True, "the table"), (False, "the hub")])
def test_wrong_bytes_are_refused_with_both_sums_and_removed(place, hub, known, source):
    hub.sent[LARGE] = FILES[LARGE][:-1] + bytes([FILES[LARGE][-1] ^ 1])
    if known:
        place.know(LARGE, sha256=sha256(FILES[LARGE]))
    place.refused(
        f"model.safetensors: what {hub.url} sent has SHA-256 {sha256(hub.sent[LARGE])}",
        f"by {source} it is {sha256(FILES[LARGE])}",
        "Run the same command again",
    )
    assert place.content() == {}
    hub.sent.clear()
    assert place.run("get")[0] == 0 and place.content() == WHOLE


def test_a_file_that_is_not_what_the_table_says_is_refused_before_it_is_fetched(place, hub):
    place.know(SMALL, sha256="0" * 64)
    place.refused(f"SHA-256 {sha256(FILES[SMALL])} at {hub.url}, {'0' * 64} in the table", "--table")
    place.know(SMALL, sha256=sha256(FILES[SMALL]), size=4999)
    place.refused(f"bytes 5000 at {hub.url}, 4999 in the table")
    assert hub.fetched(LARGE) == [] == hub.fetched(SMALL)


def test_a_file_that_is_not_there_is_refused_before_anything_is_fetched(place, hub):
    del hub.files[SMALL]
    hub.files["owner/small/other"] = b"x"
    place.refused(f"owner/small: vae.safetensors (revision main): {hub.url} has no such file (status 404)", "--table")
    place.know(SMALL, revision="v9")
    place.refused("vae.safetensors (revision v9)", "status 404")
    del hub.files["owner/small/other"]
    place.refused("shows no such repository without a token (status 401)", "put into")
    assert hub.fetched(LARGE) == []


def test_no_network_is_one_clear_error(place, hub):
    hub.__exit__()
    place.refused(f"{hub.url} cannot be reached", "Check the network connection")
    place.refused("HF_ENDPOINT: 'mirror' is no address", environment={"HF_ENDPOINT": "mirror"})


@pytest.mark.parametrize(("answer", "reason"), [("loop", "redirects"), ("garbage", "SSH-2.0")])
def test_an_answer_that_is_no_hub_s_is_not_called_no_network(place, hub, answer, reason):
    hub.answer = answer
    place.refused(f"{hub.url} answers, but not as a hub does (", reason, "Set HF_ENDPOINT to a hub's address")


def test_an_empty_address_of_a_hub_is_none(place, hub):
    proxy = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), hub.url)  # so that the true hub is not asked
    place.refused("https://huggingface.co", environment={"HF_ENDPOINT": "", **proxy})
    assert {(request.method, request.path) for request in hub.requests} == {("CONNECT", "huggingface.co:443")}


def test_a_cut_download_that_left_nothing_says_so_and_leaves_nothing(place, hub):
    """Fewer bytes than huggingface_hub hands on at once."""
    hub.stingy[SMALL] = 100
    code, _, error = place.run("get", "vae.safetensors")
    assert code == 1 and len(error.strip().splitlines()[-2:]) == 2
    assert "vae.safetensors: nothing has arrived" in error and "kept" not in error
    assert "Error while downloading" not in error and place.content() == {}


def test_a_hub_that_goes_away_leaves_the_part(place, hub):
    process, part = place.start_and_stall()
    hub.__exit__()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in error
    on_disk = part.stat().st_size
    assert on_disk > 0 and "Error while downloading" not in error
    assert f"{on_disk:,} of {len(FILES[LARGE]):,} bytes are on the disk" in error and "goes on from there" in error


@pytest.mark.parametrize(
    ("told", "text"), [(4000, "sent more than the 4,000 bytes"), (6000, "5,000 of 6,000 bytes are")]
)
def test_more_or_fewer_bytes_than_were_told_are_no_file(place, hub, told, text):
    hub.told[SMALL] = told
    code, _, error = place.run("get", "vae.safetensors")
    assert code == 1 and text in error and "Traceback" not in error, error
    assert not place.path(SMALL).exists()


def test_a_disk_that_is_too_small_is_refused_with_both_numbers(place, hub):
    hub.told[LARGE] = 10**16
    free = shutil.disk_usage(place.models).free
    place.refused("GB left on the disk, 10000000.0 GB are to be fetched", "--to")
    assert free < 10**16 and hub.fetched(LARGE) == [] == hub.fetched(SMALL)


def test_a_disk_that_fills_leaves_the_part(place, hub):
    """A limit on the size of files, which the system reports as it does a full disk."""
    resource = pytest.importorskip("resource")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (12 * BLOCK, resource.RLIM_INFINITY))

    place.refused("the disk is full", "Free some space", preexec_fn=limit)
    (part,) = place.models.rglob("*.part")
    assert part.stat().st_size == 12 * BLOCK
    code, _, error = place.run("get")
    assert code == 0 and place.content() == WHOLE, error
    assert hub.fetched(LARGE)[-1] == f"bytes={12 * BLOCK}-"


def test_what_lies_in_the_way_is_refused_before_the_first_byte_and_stays(place, hub):
    place.path(SMALL).mkdir(parents=True)
    code, _, error = place.run("get")
    assert code == 1 and f"{place.path(SMALL)}: is a folder, " in error and "Move it away" in error
    place.path(SMALL).rmdir()
    place.path(SMALL).parent.rmdir()
    place.path(SMALL).parent.write_text("my own")
    code, _, error = place.run("get")
    text = f"{place.path(SMALL)}: {place.path(SMALL).parent} is a file, "
    assert code == 1 and text in error and "Move it away" in error
    assert [path.name for path in place.models.iterdir()] == ["vae"]
    assert hub.requests == [] and place.content() == {"vae": b"my own"}


def test_another_file_of_the_name_stays_untouched(place, hub):
    own = place.path(SMALL)
    own.parent.mkdir()
    for content, known in ((b"my own", {}), (FILES[SMALL][:-1] + b"?", {"size": 5000, "sha256": sha256(FILES[SMALL])})):
        place.know(SMALL, **known)
        own.write_bytes(content)
        code, _, error = place.run("get")
        assert code == 1 and "vae.safetensors: has" in error and "Move it away" in error
        assert place.content() == {"vae/vae.safetensors": content} and hub.fetched(LARGE) == []
