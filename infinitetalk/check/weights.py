"""The model files before a sampler: whether each is what it is loaded as, and whether they fit together.

From their headers; knows no host and no nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model.adapter import AdapterShape
from ..model.keys import plain_key
from ..model.kinds import ADAPTER, LORA, MODEL, SPEECH, VAE, WANTED, Kind
from ..model.layouts import BaseShape, check_fit, holds_adapter, read_adapter, read_base
from ..model.lora import lora_fit
from ..model.quantised import plain_shapes
from ..model.trained_for import BY_NAME, note_of, warning
from .cost import VAE_WIDTH, Model
from .report import Report


@dataclass(frozen=True)
class Weight:
    """A file that a loader names. label: of the loader, for messages; doubtful: whether nodes that are not known stand
    between it and the sampler; trained_for: what it was told of an adapter."""

    role: str
    name: str
    label: str
    bytes: int
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]
    doubtful: bool = False
    trained_for: str = BY_NAME


@dataclass
class Weights:
    """files: those before a sampler, each once; base, adapter: sizes of the model that is sampled."""

    files: list[Weight]
    base: BaseShape | None = None
    adapter: AdapterShape | None = None

    def of(self, role: str) -> list[Weight]:
        return [weight for weight in self.files if weight.role == role]

    @property
    def vae_width(self) -> int:
        """Channels of the VAE's last stage."""
        heads = (weight.shapes.get("decoder.head.0.gamma") for weight in self.of(VAE))
        return next((shape[0] for shape in heads if shape), VAE_WIDTH)

    def model(self) -> Model | None:
        """What a model call costs, None when no file tells."""
        files = self.of(MODEL)
        if self.base is None or len(files) != 1:
            return None
        plain = plain_shapes({plain_key(key): shape for key, shape in files[0].shapes.items()})
        ffn = (plain.get("blocks.0.ffn.0.weight") or (4 * self.base.dim,))[0]
        inside = {weight.name: weight.bytes for weight in (*files, *self.of(ADAPTER))}  # one file can be both
        return Model(self.base.dim, ffn, self.base.layers, sum(inside.values()))

    def fit(self, report: Report) -> None:
        """Find files that are no such thing, and those that do not fit together."""
        bases = [
            # ComfyUI may know a layout that is not known here.
            report.unless(weight.doubtful or not weight.kind.known).attempt(read_base, weight.shapes, weight.label)
            for weight in self.of(MODEL)
        ]
        self.base = bases[0] if len(bases) == 1 else None  # of several, such as merged ones, nobody can tell
        for weight in self.of(ADAPTER)[:1]:  # the nearest: applied again, an adapter replaces the one before
            heard = report.unless(weight.doubtful)
            self.adapter = heard.attempt(read_adapter, weight.shapes, weight.label)
            if self.adapter and self.base:
                heard.attempt(check_fit, self.adapter, self.base, weight.label)
        if not self.of(ADAPTER):  # inside the model, if anywhere; a patch of another node is not seen
            inside = [weight for weight in self.of(MODEL) if holds_adapter(weight.shapes)]
            self.adapter = report.attempt(read_adapter, inside[0].shapes, inside[0].label) if inside else None
        for weight in self.files:
            if weight.role not in (MODEL, ADAPTER) and weight.kind.role != weight.role:
                # What is not known may be a file that the host reads all the same: no reason to stop a run.
                # Of a LoRA ComfyUI leaves out what does not fit.
                report.unless(weight.doubtful or not weight.kind.known or weight.role == LORA).problem(
                    f"{weight.label}: this file is {weight.kind.name}.", WANTED[weight.role]
                )
            elif weight.role == SPEECH:
                self._fit_speech(weight, report.unless(weight.doubtful))
            elif weight.role == LORA:
                self._fit_lora(weight, report)

    def check_adapter(self, voices: int, report: Report) -> None:
        """Warn of an adapter of another model by its name, and of one for one voice, by the user's choice or its name.

        Their tensors do not tell.
        """
        for weight in self.of(ADAPTER)[:1]:
            note = note_of(weight.name, weight.trained_for)
            if note.twin:
                report.warn(
                    f"{weight.label}: by its name {weight.name} is of {note.twin}, which was trained for another "
                    "sampling.",
                    WANTED[ADAPTER],
                )
            told = warning(note, voices)
            if told:
                report.warn(f"{weight.label}: {told}", "The multi ones are in the README's table of model files.")

    def _fit_speech(self, weight: Weight, report: Report) -> None:
        plain = {key.removeprefix("wav2vec2."): shape for key, shape in weight.shapes.items()}
        layers = {key.split(".")[2] for key in plain if key.startswith("encoder.layers.")}
        width = (plain.get("encoder.layer_norm.weight") or (0,))[0]
        if self.adapter and layers and len(layers) * width != self.adapter.features:
            report.problem(
                f"{weight.label}: this wav2vec2 has {len(layers)} layers of width {width}, the adapter hears "
                f"{self.adapter.features} numbers a frame.",
                WANTED[SPEECH],
            )

    def _fit_lora(self, weight: Weight, report: Report) -> None:
        """Only warns: ComfyUI leaves out what does not fit and goes on."""
        base = self.of(MODEL)
        if not (self.base and len(base) == 1) or "4-bit" in base[0].kind.marking:  # two numbers lie in one there
            return
        applied, left, unread = lora_fit(weight.shapes, base[0].shapes)
        out = [*left, *unread]
        strange = "".join(f" ComfyUI does not know names such as {key}." for key in list(unread.values())[:1])
        if not applied:
            what = f"{weight.label}: none of the {len(out)} modules of this LoRA fits the model.{strange}"
            report.warn(what, WANTED[LORA])
        elif out:
            report.warn(
                f"{weight.label}: {len(out)} of {len(applied) + len(out)} modules of this LoRA do not fit the "
                f"model and are left out, first {out[0]}.{strange}",
                "Use the LoRA that was made for this model, or none.",
            )
        if any("lora" in file.name.lower() for file in base):
            report.warn(
                f"{weight.label}: by its name {base[0].name} has a LoRA merged in, and another one is loaded.",
                "Leave the LoRA loader out.",
            )
