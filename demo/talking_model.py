"""The small model that talks: the names of its files in demo/models, and the step that puts trained ones there.

    python -m demo.talking_model DIT_FOLDER VAE_FILE WAV2VEC_FOLDER [MODELS]

DIT_FOLDER is what training.dit_export wrote, VAE_FILE is of train_vae and WAV2VEC_FOLDER of train_wav2vec. MODELS has
the layout of a host's models folder. Prints a row of the model card for each file of weights. Knows no ComfyUI.
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

from safetensors import safe_open

MODELS = Path(__file__).resolve().parent / "models"
DIT = "diffusion_models/infinitetalk_talker_i2v.safetensors"
VAE = "vae/infinitetalk_talker_vae.safetensors"
WAV2VEC_FOLDER = "audio_encoders/infinitetalk_talker_wav2vec2"
ADAPTER = "model_patches/infinitetalk_talker_adapter.safetensors"
EMBEDS = "infinitetalk/infinitetalk_talker_embeds.safetensors"  # prompt: a still camera
CAMERA_EMBEDS = {
    camera: f"infinitetalk/infinitetalk_talker_{camera}_embeds.safetensors" for camera in ("left", "right", "in", "out")
}
WAV2VEC_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
FILES = (DIT, VAE, *(f"{WAV2VEC_FOLDER}/{name}" for name in WAV2VEC_FILES), ADAPTER, EMBEDS, *CAMERA_EMBEDS.values())
MOST_MB = 40  # of all files together, as the repository carries them


def collect(dit: Path, vae: Path, wav2vec: Path, models: Path = MODELS) -> list[Path]:
    """Copy what the training scripts wrote to its names in a models folder; returns the files."""
    sources = {DIT: dit / "dit.safetensors", ADAPTER: dit / "adapter.safetensors", VAE: vae}
    sources |= {EMBEDS: dit / "still_embeds.safetensors"}
    sources |= {name: dit / f"{camera}_embeds.safetensors" for camera, name in CAMERA_EMBEDS.items()}
    sources |= {f"{WAV2VEC_FOLDER}/{name}": wav2vec / name for name in WAV2VEC_FILES}
    for name in FILES:
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources[name], models / name)
    return [models / name for name in FILES]


def card_row(path: Path, models: Path = MODELS) -> str:
    """A file's row in the table of the model card: name, numbers in it, size."""
    with safe_open(path, framework="pt") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118  # not a dict
    count = sum(math.prod(shape) for shape in shapes)
    return f"| `{path.relative_to(models).as_posix()}` | {count:,} | {path.stat().st_size / 1e6:.1f} MB |"


def main(arguments: list[str]) -> None:
    dit, vae, wav2vec, models = [*map(Path, arguments), MODELS][:4]
    files = collect(dit, vae, wav2vec, models)
    for path in files:
        if path.suffix == ".safetensors":
            print(card_row(path, models))
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{size:.1f} MB together")
    if size > MOST_MB:
        sys.exit(f"They are more than {MOST_MB} MB.\nExport them in fp16, or make the model smaller.")


if __name__ == "__main__":
    main(sys.argv[1:])
