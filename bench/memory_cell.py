"""One cell of `bench memory`, alone in its process: load, sample one window, decode, and say what it took.

python3 -m bench.memory_cell JSON
The host is set up as its main.py does it, with dynamic VRAM where that works, and loads the files as its users'
graphs do. Prints one line of JSON, the last of its output. Nothing here may import torch before `start_host` has
set up what is set up before torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import resource
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from tests.inprocess import use_host

GIB = 2**30
LOOK = 0.02  # seconds between looks at the card's free memory
SCALES = {1: (1.0, 1.0), 2: (1.0, 4.0), 3: (5.0, 4.0)}  # text and audio guidance that call so many branches


def start_host(cell: dict) -> str:
    """Put the host on the path, in the mode asked for, capped; the mode's name. As main.py does it, in its order."""
    use_host(cpu=cell["tiny"])
    from comfy.cli_args import args, enables_dynamic_vram

    if cell["tiny"]:
        return "CPU"
    args.cuda_malloc = True  # what main.py finds for CUDA 12 and 13; the parent has told torch
    args.disable_dynamic_vram = cell["mode"] == "static"
    args.reserve_vram = cell["reserve"]
    dynamic = enables_dynamic_vram()
    if dynamic:
        from comfy_aimdo import control

        headroom = None if args.reserve_vram is None else int(args.reserve_vram * GIB)
        control.init(simple_vram_headroom=headroom, nvml_pressure=not args.disable_nvml_pressure)
    import torch

    torch.cuda.set_per_process_memory_fraction(min(1.0, cell["bytes"] / torch.cuda.mem_get_info()[1]))
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    if not dynamic:
        return "static"
    room = int(args.vram_headroom * GIB)
    if not control.init_devices((device.index, room) for device in comfy.model_management.get_all_torch_devices()):
        raise RuntimeError("dynamic VRAM does not start here")
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return "dynamic"


def load(cell: dict):
    """(MODEL with the adapter, VAE) of a cell's files."""
    import comfy.sd
    import comfy.utils

    from infinitetalk.host.attach import attach
    from infinitetalk.host.loading import load_adapter_file, load_base_file

    from .memory_files import ADAPTERS, BASES, VAE

    folder, form = Path(cell["folder"]), cell["format"]
    if form == "q4":
        model = gguf_pack(cell["gguf_pack"], folder).UnetLoaderGGUF().load_unet(BASES[form])[0]
    else:
        model = load_base_file(str(folder / BASES[form]))
    patch = load_adapter_file(str(folder / ADAPTERS[form]), model.model.get_dtype_inference())
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(folder / VAE)))
    return attach(model, patch), vae


def gguf_pack(pack: str, folder: Path):
    """The nodes of a checkout of the GGUF pack, imported as the host imports packs; it finds models in `folder`."""
    import folder_paths

    folder_paths.add_model_folder_path("diffusion_models", str(folder))
    place = Path(pack).resolve() / "__init__.py"
    spec = importlib.util.spec_from_file_location("gguf_pack", place, submodule_search_locations=[str(place.parent)])
    sys.modules["gguf_pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["gguf_pack"])
    return importlib.import_module("gguf_pack.nodes")


class Clock:
    """Seconds per part, and (rows, seconds) of every call of the model; the GPU's work belongs to who asked for it."""

    def __init__(self, wait):
        self.seconds, self.calls, self._wait = defaultdict(float), [], wait

    def around(self, part: str, function):
        def timed(*args, **kwargs):
            self._wait()
            start = time.perf_counter()
            out = function(*args, **kwargs)
            self._wait()
            self.seconds[part] += time.perf_counter() - start
            return out

        return timed

    def forward(self, executor, x, *args, **kwargs):
        """An APPLY_MODEL wrapper."""
        before = self.seconds["DiT"]
        out = self.around("DiT", executor)(x, *args, **kwargs)
        self.calls.append((x.shape[0], self.seconds["DiT"] - before))
        return out

    def per_forward(self, branches: int, steps: int) -> float | None:
        """Seconds of one branch in the last step, when everything is warm; None when it did not come so far."""
        if sum(rows for rows, _ in self.calls) < branches * steps:
            return None
        seconds, rows = 0.0, 0
        for count, spent in reversed(self.calls):
            if rows >= branches:
                break
            rows, seconds = rows + count, seconds + spent
        return seconds / rows


class Watch(threading.Thread):
    """The least free memory of the card while it runs: what other allocators than torch's take counts too."""

    def __init__(self):
        super().__init__(daemon=True)
        self.least, self._over = None, threading.Event()

    def run(self):
        import torch

        while torch.cuda.is_available() and not self._over.wait(LOOK):
            free = torch.cuda.mem_get_info()[0]
            self.least = free if self.least is None else min(self.least, free)

    def stop(self) -> int | None:
        self._over.set()
        self.join()
        return self.least


def window(cell: dict, result: dict) -> None:
    """One window through the Sampler node's own code; `result` is filled as it goes: an error leaves the rest."""
    import torch
    from comfy.patcher_extension import WrappersMP

    from infinitetalk.config import StreamConfig, WindowConfig
    from infinitetalk.host import run, vae
    from infinitetalk.host.attach import attached
    from infinitetalk.host.memory import settle
    from infinitetalk.host.planned import Wish
    from infinitetalk.memory import MemoryConfig
    from infinitetalk.settings import GuidanceConfig
    from tests.host.machine import folders

    from .full_size import inputs_of, motion_frames, with_speakers

    size, frames = cell["size"], cell["frames"]
    clock = Clock(torch.cuda.synchronize if torch.cuda.is_available() and not cell["tiny"] else lambda: None)
    start = time.perf_counter()
    model, coder = load(cell)
    result["load_s"] = time.perf_counter() - start
    result["weights_gib"] = (model.model_size() + attached(model).model_size()) / GIB
    latent = [1, 16, 1 + (frames - 1) // 4, size["pixels"] // 8, size["pixels"] // 8]
    result["estimate_gib"] = float(model.model.memory_required(latent)) / GIB
    inputs = with_speakers(inputs_of(model, coder, size, cell["steps"], 1), cell["speakers"])
    inputs.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "bench", clock.forward)
    vae.WanVae.encode = clock.around("VAE", vae.WanVae.encode)
    vae.WanVae.decode = clock.around("VAE", vae.WanVae.decode)
    window = WindowConfig(frames, motion_frames(size))
    config = StreamConfig(window, GuidanceConfig(*SCALES[cell["branches"]]), mode="clip")
    wish = Wish(memory=None if cell["memory"] is None else MemoryConfig(**cell["memory"]))
    result["chose"] = settle(inputs, config, wish.memory, cell["branches"]).told
    result["check_s"] = said_by_the_check(model, cell)
    with tempfile.TemporaryDirectory() as folder, folders(Path(folder)):
        start = time.perf_counter()
        try:
            run.render(inputs, config, wish)
        finally:
            result["window_s"] = time.perf_counter() - start
            result["vae_s"] = clock.seconds["VAE"]
            result["batches"] = sorted({rows for rows, _ in clock.calls})
            result["forward_s"] = clock.per_forward(cell["branches"], cell["steps"])


def said_by_the_check(model, cell: dict) -> float | None:
    """Seconds that the check says for this window, without loading."""
    from infinitetalk.check.cost import Model, Window, window_seconds
    from infinitetalk.host.attach import attached
    from infinitetalk.host.machine import this_machine

    from .full_size import motion_frames

    size, bytes_ = cell["size"], model.model_size() + attached(model).model_size()
    of = Model(size["dim"], size["ffn"], size["layers"], int(bytes_))
    calls = cell["steps"] * cell["branches"]
    window = Window(cell["frames"], size["pixels"], size["pixels"], calls, motion_frames(size))
    return window_seconds(of, window, this_machine(), size["vae"])


def peaks(cell: dict, least: int | None) -> dict:
    """The most memory that was in use: torch's, the whole card's against the cap, and the process's in RAM."""
    import torch

    found = {"ram_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if torch.cuda.is_available() and not cell["tiny"]:
        found["allocated_gib"] = torch.cuda.max_memory_allocated() / GIB
        found["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
        known = least is not None and not (cell["by"] == "reserve" and cell["cap"])  # there more is free than is told
        found["card_gib"] = (cell["bytes"] - least) / GIB if known else None
    return found


def main() -> int:
    cell, result = json.loads(sys.argv[1]), {}
    try:
        result["mode"] = start_host(cell)
    except Exception as error:
        print(json.dumps({"finished": False, "error": f"{type(error).__name__}: {error}"}))
        return 0
    import torch

    watch = Watch()
    watch.start()
    try:
        with torch.inference_mode():  # as the host runs nodes
            window(cell, result)
        result["finished"] = True
    except Exception as error:  # the cell's outcome, whatever it is
        line = (str(error).splitlines() or [""])[0]
        result |= {"finished": False, "error": f"{type(error).__name__}: {line}"[:200]}
    result |= peaks(cell, watch.stop())
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
