"""A cancel while speech is encoded."""

from __future__ import annotations

import pytest
import torch

from demo.small_model import WAV2VEC_FOLDER

pytestmark = pytest.mark.usefixtures("host")


def test_a_cancel_reaches_the_audio_encoder(machine):
    """A long recording takes minutes on a CPU; the host's interrupt is looked for before each of its layers."""
    import comfy.model_management

    from infinitetalk.host.audio_encoder import Wav2VecEncoder, encode

    encoder = Wav2VecEncoder(str(machine.models / WAV2VEC_FOLDER))
    audio = {"waveform": torch.rand(1, 1, 16_000) - 0.5, "sample_rate": 16_000}
    assert encode(encoder, audio, None).frames == 25
    entered = []
    encoder.model.encoder.layers[5].register_forward_pre_hook(lambda *_: entered.append(5))
    encoder.model.encoder.layers[2].register_forward_hook(
        lambda *_: comfy.model_management.interrupt_current_processing()
    )
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode(encoder, audio, None)
    assert not entered
