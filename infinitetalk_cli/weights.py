"""Model files: what --ckpt_dir and the other flags name, made visible to an own ComfyUI and found in a host's lists.

Files are recognised by the names of their tensors, read from the header alone. Loads nothing.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infinitetalk.errors import InputError
from infinitetalk.parts import first_parts, model_parts
from infinitetalk.safetensors_header import NotSafetensors, read_header

from .client import Client
from .prompt import Prompt, choices

README = "The README's table of model files says where to get it"
SETTINGS = "config.json"  # of a Hugging Face folder


@dataclass(frozen=True)
class Role:
    """One list widget that wants a file.

    label: in messages. flag: that names the file. folder: of the host's models. node, input: of the widget.
    marks: names of tensors that only such a file has, whatever its matrices are stored as.
    """

    label: str
    flag: str
    folder: str
    node: str
    input: str
    marks: tuple[str, ...] = ()


BASE = Role("base model", "--dit_path", "diffusion_models", "InfiniteTalkLoadModel", "model",
            ("patch_embedding.weight", "blocks.0.self_attn.q.bias"))  # fmt: skip
ADAPTER = Role("adapter", "--infinitetalk_dir", "model_patches", "InfiniteTalkLoadModel", "adapter",
               ("audio_proj.proj1.bias",))  # fmt: skip
TEXT = Role("text encoder", "--ckpt_dir", "text_encoders", "CLIPLoader", "clip_name",
            ("encoder.block.23.layer.1.DenseReluDense.wi_1.weight",))  # fmt: skip
VAE = Role("VAE", "--ckpt_dir", "vae", "VAELoader", "vae_name", ("decoder.middle.0.residual.0.gamma",))
CLIP = Role("CLIP vision", "--ckpt_dir", "clip_vision", "CLIPVisionLoader", "clip_name",
            ("vision_model.encoder.layers.30.layer_norm1.weight",))  # fmt: skip
SPEECH = Role("audio encoder", "--wav2vec_dir", "wav2vec2", "InfiniteTalkLoadAudioEncoder", "audio_encoder")
LORA = Role("LoRA", "--lora_dir", "loras", "LoraLoaderModelOnly", "lora_name")
EMBEDS = Role("embeddings", "--embeds", "infinitetalk", "InfiniteTalkLoadEmbeds", "embeds")
SPEECH_FILE = Role("audio encoder", "--wav2vec_dir", "audio_encoders", "AudioEncoderLoader", "audio_encoder_name")
IN_CKPT = (BASE, TEXT, VAE, CLIP)
LOADERS = (*IN_CKPT, ADAPTER, SPEECH, SPEECH_FILE, LORA, EMBEDS)
# Files of the reference's folder that ComfyUI cannot read, and what stands for them.
FOREIGN = {
    TEXT: ("models_t5_umt5-xxl-enc-bf16.pth", "umt5_xxl_fp8_e4m3fn_scaled.safetensors"),
    CLIP: ("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth", "clip_vision_h.safetensors"),
}
PICKLED_VAE = "Wan2.1_VAE.pth"  # the one pickled file of the reference that ComfyUI reads


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors of a safetensors file, or of a model in parts; empty for any other file.

    InputError for parts that are missing.
    """
    try:
        return {name for part in model_parts(path, "--ckpt_dir") for name in read_header(part).shapes}
    except (OSError, NotSafetensors):
        return set()


def has_role(names: set[str], role: Role) -> bool:
    plain = {name.removeprefix("model.").removeprefix("diffusion_model.") for name in names}
    return bool(role.marks) and plain.issuperset(role.marks)


@dataclass(frozen=True)
class Given:
    """A file or folder that a flag names. root: the directory an own ComfyUI must know for it; None for a mere name."""

    path: Path
    root: Path | None

    @property
    def entry(self) -> PurePosixPath:
        """What it is looked for as in a host's list."""
        return PurePosixPath((self.path.relative_to(self.root) if self.root else self.path).as_posix())


@dataclass
class Weights:
    """What the flags name, file by file. own: whether a ComfyUI is started for the run.

    ckpt_dir: where the reference's files may lie that ComfyUI does not load.
    """

    own: bool
    chosen: dict[Role, Given] = field(default_factory=dict)
    loras: list[tuple[Given, float]] = field(default_factory=list)  # with their strengths
    ckpt_dir: Path | None = None

    @classmethod
    def of(cls, options: Namespace, has_regions: bool) -> Weights:
        """From the command line. InputError for what is absent or what ComfyUI does not load, before it starts.

        has_regions: whether several voices are bound to regions; one person with a box is two, a voice and silence.
        """
        weights = cls(not options.server)
        if options.ckpt_dir:
            weights.read_ckpt_dir(Path(options.ckpt_dir), options)
        adapter = options.infinitetalk_dir and Path(options.infinitetalk_dir)
        if adapter and adapter.is_dir():  # the download as it is
            adapter = adapter / ("multi" if has_regions else "single") / "infinitetalk.safetensors"
        named = {ADAPTER: adapter, BASE: options.dit_path, SPEECH: options.wav2vec_dir, EMBEDS: options.embeds}
        for role, path in named.items():
            if path:
                weights.chosen[role] = weights.check(role, Path(path))
        loras = zip(options.lora_dir, options.lora_scale, strict=True)
        weights.loras = [(weights.check(LORA, Path(path)), scale) for path, scale in loras]
        return weights

    def check(self, role: Role, path: Path) -> Given:
        """Refuse a path that cannot be the file of a role."""
        if role is not SPEECH and path.suffix != ".safetensors":
            raise InputError(
                f"{role.flag}: {path} is not one .safetensors file.", f"Give the {role.label} as such. {README}."
            )
        if not path.exists():
            if self.own and len(path.parts) > 1:
                raise InputError(f"{role.flag}: there is no {path}.", f"Give the {role.label}. {README}.")
            return Given(path, None)
        names = tensor_names(path)
        if role.marks and not has_role(names, role):
            raise InputError(
                f"{role.flag}: {path} is another kind of file.", f"Give the {role.label} as ComfyUI loads it. {README}."
            )
        if path.is_dir() and not (path / SETTINGS).is_file():
            raise InputError(f"{role.flag}: {path} has no {SETTINGS}.", "Give the whole chinese-wav2vec2-base folder.")
        path = path.absolute()
        return Given(path, path.parent if self.own else None)

    def read_ckpt_dir(self, folder: Path, options: Namespace) -> None:
        """Recognise the files of --ckpt_dir; what another flag names is not looked for."""
        if not folder.is_dir():
            raise InputError(f"--ckpt_dir: there is no folder {folder}.", "Give the folder with the Wan files.")
        self.ckpt_dir = folder = folder.absolute()
        skipped = [BASE] * bool(options.dit_path) + [TEXT, CLIP] * bool(options.embeds)
        found: dict[Role, list[Path]] = {role: [] for role in IN_CKPT if role not in skipped}
        for path in map(Path, first_parts([str(path) for path in sorted(folder.rglob("*.safetensors"))])):
            names = tensor_names(path)
            for role in found:
                found[role] += [path] * has_role(names, role)
        if not found[VAE]:
            found[VAE] = sorted(folder.rglob(PICKLED_VAE))
        for role, paths in found.items():
            if len(paths) > 1:
                names = ", ".join(path.relative_to(folder).as_posix() for path in paths)
                remedy = f"Name one with {role.flag}." if role is BASE else "Leave one of them in the folder."
                raise InputError(f"--ckpt_dir: {len(paths)} files are a {role.label}: {names}.", remedy)
            if paths:
                self.chosen[role] = Given(paths[0], folder if self.own else None)
        if BASE in found and not found[BASE]:
            raise InputError(
                f"--ckpt_dir: {folder} holds no Wan2.1 I2V model.",
                "Give --dit_path with one, such as Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ.safetensors.",
            )

    def search_paths(self, comfyui: Path) -> dict:
        """extra_model_paths of an own ComfyUI: the given files first, then all models of the ComfyUI folder."""
        given: dict[str, dict[str, None]] = {}
        for role, file in [*self.chosen.items(), *((LORA, lora) for lora, _ in self.loras)]:
            if file.root:
                given.setdefault(role.folder, {})[str(file.root)] = None
        ours = given.pop(EMBEDS.folder, None)  # not first: what a run writes goes to the ComfyUI's folder
        models = comfyui / "models"
        known = {path.name: path.name for path in models.iterdir() if path.is_dir()} if models.is_dir() else {}
        sections = {
            "given": {"is_default": True, **{name: "\n".join(roots) for name, roots in given.items()}},
            "comfyui": {"base_path": str(models), **known, EMBEDS.folder: EMBEDS.folder},
            "embeds": {EMBEDS.folder: "\n".join(ours)} if ours else {},
        }
        return {name: section for name, section in sections.items() if section}

    def settle(self, prompt: Prompt, client: Client) -> None:
        """Put into every loader of a workflow the entry of the host's list; InputError when the host lacks a file."""
        for entry in prompt.values():
            for role in LOADERS:
                name = entry["inputs"].get(role.input) if entry["class_type"] == role.node else None
                if isinstance(name, str):
                    entries = choices(client, role.node, role.input)
                    entry["inputs"][role.input] = self.listed(role, name, entries, client.url)

    def listed(self, role: Role, name: str, entries: list[str], url: str) -> str:
        try:
            return in_list(role, PurePosixPath(name), entries, url)
        except InputError as error:
            file, instead = FOREIGN.get(role, ("", ""))
            if not (file and self.ckpt_dir and (self.ckpt_dir / file).exists()):
                raise
            raise InputError(
                f"--ckpt_dir: ComfyUI does not load {file}, and the ComfyUI at {url} has no {name}.",
                f"Put {instead} into --ckpt_dir. {README}.",
            ) from error


def in_list(role: Role, path: PurePosixPath, entries: list[str], url: str) -> str:
    """The entry that is the path, or whose last parts are most like it; InputError for none, or two as like."""
    plain = {entry: PurePosixPath(entry.replace("\\", "/")) for entry in entries}
    exact = [entry for entry in entries if plain[entry] == path]
    if exact:
        return exact[0]

    def likeness(entry: str) -> int:
        pairs = list(zip(reversed(path.parts), reversed(plain[entry].parts), strict=False))
        return next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))

    best = max(map(likeness, entries), default=0)
    found = [entry for entry in entries if likeness(entry) == best]
    if not best:
        offered = ", ".join(entries) or "nothing"
        raise InputError(
            f"{role.label}: the ComfyUI at {url} has no {path.name} in models/{role.folder}.",
            f"Put it there, or choose another with {role.flag} or --set. It has: {offered}.",
        )
    if len(found) > 1:
        raise InputError(f"{role.flag}: {path} can be {' or '.join(found)}.", "Give more of the path, from its end.")
    return found[0]
