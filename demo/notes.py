"""What the notes beside the shipped workflows say, and where every model file in them comes from."""

from __future__ import annotations

from infinitetalk_cli.models_table import load_table

LONG = "The video gets exactly as long as the speech. Stopped or killed, it goes on when you run it again."
SPEECH = "Give the voice alone when you can: music and noise hurt the lips."
SIZE = "**480p** takes the trained size nearest to the picture's shape. For **720p** use the 720p model and shift 11."
# name -> (title, steps, tips)
NOTES = {
    "infinitetalk_image_to_video": (
        "Talking video from one picture and one voice",
        ["Choose your picture and your speech.", f"Press **Run**. {LONG}"],
        f"### Picture and speech\n\n{SIZE}\n\n{SPEECH}\n\n### Faster\n\nThe template **infinitetalk_four_steps** makes "
        "8 model calls per window instead of 120. For more than a minute from one picture see "
        "**infinitetalk_long_pan_zoom**.",
    ),
    "infinitetalk_video_dubbing": (
        "New speech for a video",
        ["Choose the video and the speech.", f"Press **Run**. {LONG}"],
        "### The source video\n\nIts frame rate may be any; past its end its last frame stays. Every window (2.88 s) "
        "looks at the frame of its own time, so that scene and camera follow in coarse steps.\n\n"
        "**source_strength** of the sampler below 1 starts from the video's own frames: the camera follows closely, "
        "colours shift sooner; for short clips. **color_reference** window is for videos whose light changes. "
        "For videos with cuts connect *InfiniteTalk Scenes* to the sampler.",
    ),
    "infinitetalk_two_speakers": (
        "Two people in one picture",
        ["Choose the picture, and a recording for each person.",
         "Run once in **clip** mode and look at *Who is where*.", f"Set mode to **streaming** and run. {LONG}"],
        "### Who speaks where and when\n\nWithout regions the speakers share the picture from left to right. For other "
        "places write **box** (x, y, width, height in pixels of the picture), or connect a mask or the boxes of a "
        "detector.\n\n**order**: *add* one after the other, *para* together; **start** of a speaker sets a time. "
        "A speaker without features keeps silent.",
    ),
    "infinitetalk_four_steps": (
        "4 steps with the LightX2V LoRA",
        ["Choose your picture and your speech.", f"Press **Run**. {LONG}"],
        "### The preset\n\nIt sets steps 4, shift 2, text scale 1, audio scale 2 and euler: 8 model calls per window "
        "instead of 120. The negative prompt has no effect at text scale 1.\n\nFor the FusionX LoRA choose "
        "**FusionX 8 steps**; it shifts colours in long videos from one picture.",
    ),
    "infinitetalk_long_pan_zoom": (
        "A long video from one picture",
        ["Choose your picture and your speech.", f"Press **Run**. {LONG}"],
        "### Why it moves\n\nFrom one unmoving picture colours drift after about a minute. *Pan and zoom* makes it a "
        "slowly moving video as long as the speech, and every window is held to its own frame of that.\n\n"
        "**there_and_back**: seconds of one way; 0 moves once over the whole length. **pan_x**, **pan_y**: where the "
        "view goes inside the room that the zoom leaves.\n\n### Hours\n\n*Load InfiniteTalk Speech* decodes a "
        "recording of any length to disk. **Watch** on the sampler plays what is finished. To fix one window connect "
        "*InfiniteTalk Redo* and run again: the others stay.",
    ),
    "infinitetalk_low_memory": (
        "For cards with little memory",
        ["Choose your picture and your speech.", f"Press **Run**. {LONG}"],
        "### What saves memory here\n\n- windows of 49 frames instead of 81 (set both **frames_per_window** and "
        "**window_frames**; 33 saves more, joints come more often)\n- text scale 1: no negative branch\n- the text "
        "encoder runs on the CPU\n- the base model is fp8\n- *InfiniteTalk Memory* on **fit my card**: what else your "
        "card needs, and why, is told when the run begins\n\nMore: Save and Load *InfiniteTalk Embeds* do without the "
        "text encoder; **custom** size, for instance 480 x 480; start ComfyUI with `--reserve-vram 2`, or `--novram`.",
    ),
    "infinitetalk_small": (
        "The small model that talks", [],
        "A drawn person of 128 x 128 pixels says what it hears, on any computer, without a GPU: every node and every "
        "step are those of the large model. On two CPU cores a window (2.88 s) takes less than a minute.\n\nIts files "
        "lie in **demo/models** of the pack's git repository (not in the registry's archive): copy what is in it into "
        "ComfyUI's **models** folder, or start ComfyUI with **python3 dev.py host** in a clone.\n\nIt knows drawn "
        "people like those in **demo/assets**; others it bends to its own kind. It was trained on windows of 81 "
        "frames; shift 3 and 4 to 8 steps are enough. The "
        "embeds *left*, *right*, *in* and *out* move the camera.\n\nFor real videos open the template "
        "**infinitetalk_image_to_video**.",
    ),
}  # fmt: skip


def model_files(prompt: dict) -> dict[str, dict[str, str]]:
    """The model files in a workflow that the table knows: name -> url, directory, size."""
    values = [value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, str)]
    table = load_table().files
    files = [table[name] for name in values if name in table]
    return {
        file.name: {
            "url": file.url,
            "directory": file.folder,
            "size": f"{file.size / 1e9:.{1 if file.size >= 1e9 else 2}f} GB",
        }
        for file in files
    }


def read_me(name: str, files: dict[str, dict[str, str]]) -> list[tuple[str, str, int]]:
    """The notes beside a workflow, from top to bottom: title, text, height in pixels."""
    title, steps, tips = NOTES[name]
    if not files:
        return [("Read me", f"## {title}\n\n{tips}\n", 320)]
    first = "Put these files into ComfyUI's **models** folder and reload the page."
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate([first, *steps], 1))
    rows = "\n".join(
        f"| {file['directory']} | [{model}]({file['url']}) | {file['size']} |" for model, file in files.items()
    )
    table = f"| folder in models | file | size |\n|---|---|---|\n{rows}"
    others = (
        "Any other Wan 2.1 I2V 14B and any other InfiniteTalk adapter (single or multi) fit as well. For models from "
        "another loader (GGUF, quantised) use *Apply InfiniteTalk Adapter*."
    )
    return [("Read me", f"## {title}\n\n{numbered}\n\n{table}\n\n{others}\n", 500), ("Tips", f"{tips}\n", 340)]
