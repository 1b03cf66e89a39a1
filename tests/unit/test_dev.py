"""dev.py: its command line, its setup from nothing (on a tiny project, without a network), and what it ships."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import tomlkit
import torch
from safetensors.torch import load_file

import dev
from demo import commands, small_model
from demo.base import ASSETS, copy_tree
from infinitetalk.errors import InputError
from infinitetalk_cli.client import failure, output_files, refusal

# ---------------------------------------------------------------- command line


def test_pytest_gets_its_arguments_in_order():
    given = ["tests/unit", "-k", "a and not b", "-x", "--lf", "tests/host", "-q"]
    assert dev.parse(["test", *given]).rest == given
    options = dev.parse(["test", "--comfyui", "DIR", *given])
    assert options.rest == given and options.comfyui == "DIR"


def test_host_arguments_follow_two_dashes_and_strangers_are_refused(capsys):
    options = dev.parse(["host", "--port", "9", "--", "--cpu", "--port", "7"])
    assert options.port == 9 and options.rest == ["--cpu", "--port", "7"]
    with pytest.raises(SystemExit):
        dev.parse(["host", "--cpu"])
    assert "unknown arguments: --cpu" in capsys.readouterr().err


def test_demo_takes_a_seed_and_leaves_the_workflows_own():
    assert dev.parse(["demo", "--seed", "0"]).seed == 0 and dev.parse(["demo"]).seed is None


def test_run_collects_every_set():
    options = dev.parse(["run", "w.json", "--set", "3.seed=1", "--set", "LoadImage.image=@a.png", "--comfyui", "X"])
    assert options.changes == ["3.seed=1", "LoadImage.image=@a.png"] and options.comfyui == "X"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], True), (["-q"], True), (["tests"], True), (["tests/browser"], True), (["tests/unit"], False),
     (["tests/unit", "tests/browser/test_run.py::test_a"], True), (["-k", "unit"], True)],
)  # fmt: skip
def test_a_browser_is_wanted_only_for_its_tests(arguments, expected, tmp_path, monkeypatch):
    for folder in ("unit", "browser"):
        (tmp_path / "tests" / folder).mkdir(parents=True)
    (tmp_path / "tests" / "browser" / "test_run.py").touch()
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    assert dev.wants_browser(arguments) is expected


# ---------------------------------------------------------------- setup


def write_wheel(folder: Path, name: str) -> Path:
    """An installable package of one empty module."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def project(tmp_path):
    """A checkout whose requirements are one local wheel, and whose `parity` prints what it was given and exits 3."""
    root = tmp_path / "project with a space"
    (root / "tests").mkdir(parents=True)
    (root / "dev.py").write_text(Path(dev.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    (root / "tests" / "parity.py").write_text(
        "import os, sys, tiny\nprint(os.environ['COMFYUI_PATH'], sys.argv[1])\nsys.exit(3)\n"
    )
    host = tmp_path / "ComfyUI"
    host.mkdir()
    (host / "main.py").touch()
    (host / "requirements.txt").write_text("# nothing\n")
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "requirements-dev.txt").write_text(f"{write_wheel(tmp_path, 'tiny').as_uri()}\n")
    return root


def run_dev(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "COMFYUI_PATH"))}
    return subprocess.run(
        [sys.executable, project / "dev.py", *arguments], cwd=project.parent, env=environment, capture_output=True,
        text=True, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip


def test_setup_is_made_once_repaired_when_broken_and_followed_by_the_command(project):
    host = str(project.parent / "ComfyUI")
    parity = ("parity", "goldens", "--comfyui", host)
    first = run_dev(project, *parity)
    assert first.returncode == 3, first.stderr
    assert "Making .venv" in first.stdout and "Installing" in first.stdout
    assert first.stdout.splitlines()[-1] == f"{host} {project.parent / 'goldens'}"

    second = run_dev(project, *parity)
    assert second.returncode == 3 and second.stdout == first.stdout.splitlines()[-1] + "\n"

    requirements = project / "requirements-dev.txt"
    good = requirements.read_text()
    requirements.write_text(good + f"{(project / 'no_such-1.0-py3-none-any.whl').as_uri()}\n")
    failed = run_dev(project, *parity)
    assert failed.returncode == 1
    for text in ("no_such", "dev.py: Installing", "run the command again"):
        assert text in failed.stderr
    assert not (project / ".venv" / dev.STAMP.name).exists()

    requirements.write_text(good + "# changed\n")
    assert "Making .venv" not in run_dev(project, *parity).stdout  # what is there is kept

    (project / ".venv" / dev.STAMP.name).unlink()
    (project / ".venv" / dev.UNFINISHED.name).touch()  # as a killed installation leaves it
    assert "Making .venv" in run_dev(project, *parity).stdout
    assert not (project / ".venv" / dev.UNFINISHED.name).exists()

    requirements.write_text(good)
    (site,) = (project / ".venv").rglob("pip/__main__.py")
    site.unlink()
    repaired = run_dev(project, *parity)
    assert repaired.returncode == 3, repaired.stderr
    assert "Making .venv" in repaired.stdout


def test_a_folder_without_comfyui_is_refused_before_anything_is_made(project):
    failed = run_dev(project, "parity", "goldens", "--comfyui", str(project))
    assert failed.returncode == 1 and "holds no main.py" in failed.stderr
    assert not (project / ".venv").exists()


def test_dev_needs_only_the_standard_library():
    names = set()
    for node in ast.walk(ast.parse(Path(dev.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"demo"}  # imported inside the venv only


# ---------------------------------------------------------------- run and demo


PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Face v1.0"}},
    "2": {"class_type": "LoadAudio", "inputs": {"audio": "a.wav"}},
    "3": {"class_type": "LoadAudio", "inputs": {"audio": "b.wav"}},
}


def test_set_finds_nodes_by_id_title_and_class():
    prompt = {node: {**entry, "inputs": dict(entry["inputs"])} for node, entry in PROMPT.items()}
    for change in ("Face v1.0.image=b.png", "2.audio=c.wav"):
        commands.apply_change(prompt, change, client=None)
    assert prompt["1"]["inputs"]["image"] == "b.png" and prompt["2"]["inputs"]["audio"] == "c.wav"
    commands.apply_change(prompt, 'LoadImage.image=["3", 0]', client=None)
    assert prompt["1"]["inputs"]["image"] == ["3", 0]
    with pytest.raises(InputError, match="nodes 2, 3"):
        commands.apply_change(prompt, "LoadAudio.audio=x", client=None)


def test_only_api_workflows_are_run(tmp_path):
    file = tmp_path / "w.json"
    for text, message in (("{", "cannot be read"), ('{"nodes": [], "links": []}', "Export"), ("[1]", "not a workflow")):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            commands.load_workflow(file)
    for path, message in ((tmp_path / "none.json", "there is no such file"), (tmp_path, "this is a folder")):
        with pytest.raises(InputError, match=message):
            commands.load_workflow(path)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_server_that_cannot_be_asked_is_told_in_two_lines(tmp_path, capsys, command):
    (tmp_path / "w.json").write_text(json.dumps(PROMPT))
    for server, first in {
        "": "--server: '' is no address",
        "host:port": "--server: 'host:port' is no address",
        "127.0.0.1:9": "No ComfyUI answers at http://127.0.0.1:9: ",
    }.items():
        options = dev.parse([command, str(tmp_path / "w.json"), "--server", server])
        assert getattr(commands, command)(tmp_path, options) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2 and lines[0].startswith(f"dev.py {command}: {first}") and lines[1]


def test_speech_is_cut_and_repeated_to_the_asked_length(tmp_path):
    def samples(path):
        with av.open(str(path)) as container:
            return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])

    whole = commands.fit_speech(ASSETS / "speech.flac", 20, tmp_path / "long.wav")
    cut = commands.fit_speech(ASSETS / "speech.flac", 1.5, tmp_path / "short.wav")
    source = samples(ASSETS / "speech.flac")
    assert len(samples(whole)) == 20 * 22050 and len(samples(cut)) == 33075
    assert np.array_equal(samples(cut), source[:33075])
    assert np.array_equal(samples(whole)[len(source) :], source[: 20 * 22050 - len(source)])


def test_the_host_is_quoted_when_it_refuses_or_fails():
    error = {"message": "Value not in list", "details": "image: 'a.png' not in []"}
    body = {"error": {"message": "Prompt outputs failed validation", "details": ""},
            "node_errors": {"4": {"class_type": "LoadImage", "errors": [error]}}}  # fmt: skip
    assert refusal(body) == "LoadImage (node 4): Value not in list: image: 'a.png' not in []"
    assert refusal({"error": {"message": "Cannot execute", "details": "Node X"}}) == "Cannot execute: Node X"
    event = {"node_type": "Sampler", "node_id": "7", "exception_message": "seed: 1\nUse 2.\n"}
    history = {"status": {"completed": False, "messages": [["execution_start", {}], ["execution_error", event]]}}
    assert str(failure(history)) == "Sampler (node 7): seed: 1\nUse 2."
    assert failure({"status": {"completed": True, "messages": [["execution_success", {}]]}}) is None


def test_saved_files_come_before_temporary_ones_and_once():
    temporary = {"filename": "p.mp4", "subfolder": "", "type": "temp"}
    saved = {"filename": "v.mp4", "subfolder": "a", "type": "output"}
    outputs = {"1": {"images": [temporary], "animated": [True]}, "2": {"images": [saved, saved], "text": ["hello"]}}
    assert output_files({"outputs": outputs}) == [saved, temporary]


# ---------------------------------------------------------------- small model


def test_small_model_is_made_once_and_again_when_damaged(tmp_path):
    files = small_model.make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files}
    damaged = tmp_path / small_model.VAE
    values = {key: value.clone() for key, value in load_file(damaged).items()}  # the file is mapped
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    assert small_model.make(tmp_path) == files
    again = load_file(damaged)
    assert again.keys() == values.keys() and all(torch.equal(again[key], values[key]) for key in values)
    assert all(path.stat().st_mtime_ns == before[path] for path in files if path != damaged)
    assert not list(tmp_path.rglob("*.part"))


def test_model_files_are_linked_and_replaced_when_they_change(tmp_path):
    source, target = tmp_path / "source" / "vae", tmp_path / "target" / "vae"
    for folder in (source, target):
        folder.mkdir(parents=True)
    for name in ("a", "b", "README.md"):
        (source / name).write_text(name)
    (target / "own").write_text("kept")
    copy_tree(source.parent, target.parent)
    assert sorted(path.name for path in target.iterdir()) == ["a", "b", "own"]
    (source / "a").unlink()  # as git does when it brings another version
    (source / "a").write_text("a of another version")
    before = (target / "b").stat()
    copy_tree(source.parent, target.parent)
    assert (target / "a").read_text() == "a of another version" and (target / "own").read_text() == "kept"
    assert (target / "b").stat() == before and not list(target.glob("*.part"))


# ---------------------------------------------------------------- the package


def test_requirements_are_the_same_in_both_places():
    project = tomlkit.parse((dev.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (dev.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == list(project["dependencies"])
    assert re.search(rf"^## {re.escape(project['version'])} ", (dev.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_registry_tool_accepts_the_pack_and_packs_what_users_need(tmp_path):
    """comfy-cli on a clone of the last commit, with a home folder of its own."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", dev.ROOT, clone], check=True)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "APPDATA": str(tmp_path)}

    def comfy(*arguments: str) -> str:
        comfy_cli = [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments]
        done = subprocess.run(comfy_cli, cwd=clone, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    comfy("tracking", "disable")
    assert "All validation checks passed" in comfy("node", "validate")
    comfy("node", "pack")
    packed = set(zipfile.ZipFile(clone / "node.zip").namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=clone, capture_output=True, text=True, check=True).stdout
    wanted = ("__init__.py", "infinitetalk/", "infinitetalk_cli/", "js/", "locales/", "nodes/", "workflows/",
              "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "requirements.txt")  # fmt: skip
    assert packed == {name for name in tracked.splitlines() if name.startswith(wanted)}


# ---------------------------------------------------------------- runs


def runs_command(*arguments: str, output: Path) -> int:
    options = dev.parse(["runs", *arguments, "--output", str(output)])
    return commands.runs(dev.PINNED_HOST, options)


def test_runs_are_listed_shown_and_removed_only_with_yes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115  # nobody to ask
    run = tmp_path / "InfiniteTalk" / "runs" / "talk-0123456789abcdef"
    (run / "windows").mkdir(parents=True)
    assert runs_command("list", output=tmp_path) == 0
    assert f"{run.name}  damaged" in capsys.readouterr().out
    assert runs_command("show", "talk", output=tmp_path) == 0
    assert f"folder: {run}" in capsys.readouterr().out
    for arguments, problem in {
        ("show",): "show needs a run",
        ("remove", "talk"): "talk-0123456789abcdef would be removed",
        ("remove", "../.."): "'../..' is a path",
        ("show", "other"): "there is no run 'other'",
    }.items():
        assert runs_command(*arguments, output=tmp_path) == 1
        assert f"dev.py runs: run: {problem}" in capsys.readouterr().err and run.exists()
    assert runs_command("remove", "talk", "--yes", output=tmp_path) == 0
    assert not run.exists() and "Removed talk-0123456789abcdef" in capsys.readouterr().out
    assert runs_command("list", output=tmp_path / "absent") == 1


def test_runs_of_the_pinned_comfyui_are_in_the_base_folder_also_through_a_link(tmp_path, capsys, monkeypatch):
    """As dev.py hands the ComfyUI on: by its true path."""
    (tmp_path / "true").mkdir()
    (tmp_path / "ComfyUI").symlink_to(tmp_path / "true", target_is_directory=True)
    monkeypatch.setattr(commands, "PINNED_HOST", tmp_path / "ComfyUI")
    monkeypatch.setattr(commands, "BASE", tmp_path / "base")
    for comfyui in (tmp_path / "ComfyUI", (tmp_path / "ComfyUI").resolve()):
        assert commands.runs(comfyui, dev.parse(["runs", "list"])) == 0
        assert f"There are no runs in {tmp_path / 'base' / 'output'}" in capsys.readouterr().out


def test_runs_of_an_existing_comfyui_are_in_its_output_folder(tmp_path, capsys):
    (tmp_path / "output").mkdir()
    assert commands.runs(tmp_path, dev.parse(["runs", "list"])) == 0
    assert f"There are no runs in {tmp_path / 'output'}" in capsys.readouterr().out
