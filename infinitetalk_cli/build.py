"""A job as a workflow: a shipped one, its values set by the flags, with nodes added where a flag asks for them.

Knows the shipped workflows by the titles of their nodes. Talks to no host.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from infinitetalk.config import FPS
from infinitetalk.settings import CURVE_SUFFIX

from .arguments import SIZES
from .job import Job, Person
from .prompt import Prompt, add_node, drop_unused, find_node, inputs_of, load_workflow
from .weights import ADAPTER, BASE, CLIP, EMBEDS, SPEECH, TEXT, VAE, Weights

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows" / "api"
PICTURE, VIDEO = "infinitetalk_image_to_video", "infinitetalk_video_dubbing"
TITLES = {
    BASE: "Model",
    ADAPTER: "Model",
    TEXT: "Text encoder",
    VAE: "VAE",
    CLIP: "CLIP vision",
    SPEECH: "Audio encoder",
}
PREFIX = "InfiniteTalk/cli"
TEACACHE, MAGCACHE = 0.2, 0.06  # thresholds: the reference's, and the middle of what the node advises
APG = {"apg_momentum": -0.75, "apg_norm_threshold": 55.0}


def build(job: Job, options: Namespace, weights: Weights, files: dict[Path, str]) -> Prompt:
    """The workflow of an inspected job in API format; files: what its files are called in the host's input folder."""
    prompt = load_workflow(WORKFLOWS / f"{VIDEO if job.is_video else PICTURE}.json")
    inputs_of(prompt, "Video" if job.is_video else "Picture")["file" if job.is_video else "image"] = files[job.source]
    set_weights(prompt, weights)
    set_prompts(prompt, job, options)
    set_sampling(prompt, options)
    set_speech(prompt, job, options, files)
    set_cache(prompt, options)
    if options.scene_seg:
        video = inputs_of(prompt, "Reference")["video"]
        scenes = add_node(
            prompt, "InfiniteTalkScenes", "Scenes", video=video, detector="all", threshold=0.0, min_seconds=0.5
        )
        inputs_of(prompt, "Sampler")["scenes"] = [scenes, 0]
    save = inputs_of(prompt, "Save video")
    save["filename_prefix"] = PREFIX
    if job.soundtrack:
        save["audio"] = [add_node(prompt, "LoadAudio", "Soundtrack", audio=files[job.soundtrack]), 0]
    return prompt


def set_weights(prompt: Prompt, weights: Weights) -> None:
    """Put the given files into the loaders, the LoRAs between model and sampler, the embeddings for their encoders."""
    for role, title in TITLES.items():
        if role in weights.chosen and role is not SPEECH:
            inputs_of(prompt, title)[role.input] = weights.chosen[role].entry.as_posix()
    if SPEECH in weights.chosen:  # a folder, too
        node = prompt[find_node(prompt, TITLES[SPEECH])]
        node["class_type"] = SPEECH.node
        node["inputs"] = {SPEECH.input: weights.chosen[SPEECH].entry.as_posix()}
    sampler = inputs_of(prompt, "Sampler")
    for number, (lora, scale) in enumerate(weights.loras, 1):
        name, model = lora.entry.as_posix(), sampler["model"]
        node = add_node(
            prompt, "LoraLoaderModelOnly", f"LoRA {number}", model=model, lora_name=name, strength_model=scale
        )
        sampler["model"] = [node, 0]
    if EMBEDS in weights.chosen:
        embeds = add_node(prompt, EMBEDS.node, "Embeddings", embeds=weights.chosen[EMBEDS].entry.as_posix())
        sampler.update(positive=[embeds, 0], negative=[embeds, 1])
        reference = inputs_of(prompt, "Reference")
        del reference["clip_vision"]
        reference["clip_vision_output"] = [embeds, 2]
        for title in ("Prompt", "Negative prompt", "CLIP vision"):
            drop_unused(prompt, title)


def set_prompts(prompt: Prompt, job: Job, options: Namespace) -> None:
    if options.embeds:
        return
    inputs_of(prompt, "Prompt")["text"] = job.prompt
    if options.negative_prompt is not None:
        inputs_of(prompt, "Negative prompt")["text"] = options.negative_prompt
    if options.t5_cpu:
        inputs_of(prompt, "Text encoder")["device"] = "cpu"


def set_sampling(prompt: Prompt, options: Namespace) -> None:
    reference = inputs_of(prompt, "Reference")
    reference["size"] = SIZES[options.size]
    if "window_frames" in reference:
        reference["window_frames"] = options.frame_num
    inputs_of(prompt, "Schedule").update(steps=options.sample_steps, shift=options.sample_shift)
    guidance = inputs_of(prompt, "Guidance")
    guidance.update(text_scale=options.sample_text_guide_scale, audio_scale=options.sample_audio_guide_scale)
    if options.use_apg:
        given = {name: getattr(options, name) for name in APG}
        values = {name: APG[name] if value is None else value for name, value in given.items()}
        guidance.update(apg=True, apg_momentum=values["apg_momentum"], apg_threshold=values["apg_norm_threshold"])
    inputs_of(prompt, "Sampler").update(
        seed=options.base_seed,
        frames_per_window=options.frame_num,
        motion_frames=options.motion_frame,
        color_correction=options.color_correction_strength,
        mode=options.mode,
    )
    if options.use_sdedit is not None:
        inputs_of(prompt, "Sampler")["source_strength"] = options.use_sdedit
    if options.run_name:
        inputs_of(prompt, "Sampler")["run_name"] = options.run_name
    if options.afresh:
        inputs_of(prompt, "Sampler")["existing"] = "afresh"


def set_speech(prompt: Prompt, job: Job, options: Namespace, files: dict[Path, str]) -> None:
    """One voice into the sampler, or every person's into the speakers' node, cut to the longest video wanted."""
    frames = {person.name: options.max_frame_num for person in job.persons}
    if job.order == "add":  # one after the other: what the first leaves is the second's
        frames = shares(job.persons, options.max_frame_num)
    encoder = inputs_of(prompt, "Audio features")["audio_encoder"]
    features: dict[str, list | None] = {}
    for number, person in enumerate(job.persons):
        if person.voice is None or not frames[person.name]:
            features[person.name] = None
            continue
        if not any(features.values()):  # the workflow's own nodes
            speech, encode = find_node(prompt, "Speech"), find_node(prompt, "Audio features")
            prompt[speech]["inputs"]["audio"] = files[person.voice]
        else:
            speech = add_node(prompt, "LoadAudio", f"Speech {number + 1}", audio=files[person.voice])
            encode = add_node(
                prompt, "InfiniteTalkAudioEncode", f"Audio features {number + 1}", audio=[speech, 0],
                audio_encoder=encoder,
            )  # fmt: skip
        if options.mode == "streaming":
            trim = add_node(
                prompt, "TrimAudioDuration", f"At most {frames[person.name]} frames", audio=[speech, 0],
                start_index=0.0, duration=frames[person.name] / FPS,
            )  # fmt: skip
            prompt[encode]["inputs"]["audio"] = [trim, 0]
        features[person.name] = [encode, 0]
    if job.has_regions:
        bind(prompt, job, features)


def shares(persons: tuple[Person, ...], frames: int) -> dict[str, int]:
    """How many frames each person of an `add` job may speak, so that all together have `frames`."""
    found = {}
    for person in persons:
        found[person.name] = frames
        if person.voice is not None:
            frames = max(0, frames - person.frames)
    return found


def bind(prompt: Prompt, job: Job, features: dict[str, list | None]) -> None:
    """Put every person with a region between the features and the sampler."""
    from infinitetalk.regions import reference_box  # torch: only where a file has boxes

    speakers = {}
    for number, person in enumerate(job.persons):
        inputs: dict = {"name": person.name}
        if features[person.name]:
            inputs["features"] = features[person.name]
        if person.box:
            box = reference_box(person.box)
            inputs["box"] = f"{box.x:g}, {box.y:g}, {box.width:g}, {box.height:g}"
        node = add_node(prompt, "InfiniteTalkSpeaker", f"Speaker {number + 1}", **inputs)
        speakers[f"speakers.speaker{number}"] = [node, 0]
    sampler = inputs_of(prompt, "Sampler")
    node = add_node(
        prompt, "InfiniteTalkSpeakers", "Speakers", reference=sampler["reference"], order=job.order, **speakers
    )
    sampler["features"] = [node, 0]


def set_cache(prompt: Prompt, options: Namespace) -> None:
    if options.use_teacache:
        threshold = TEACACHE if options.teacache_thresh is None else options.teacache_thresh
        inputs = {"kind": "teacache", "threshold": threshold, "coefficients": SIZES[options.size].removesuffix("p")}
    elif options.magcache:
        inputs = {"kind": "magcache", "threshold": MAGCACHE, "curve": curve_file(options.magcache)}
    elif options.calibrate:
        inputs = {"kind": "calibrate", "threshold": 0.0, "curve": curve_file(options.calibrate)}
    else:
        return
    inputs_of(prompt, "Sampler")["cache"] = [add_node(prompt, "InfiniteTalkStepCache", "Step cache", **inputs), 0]


def curve_file(name: str) -> str:
    return name if name.endswith(CURVE_SUFFIX) else name + CURVE_SUFFIX
