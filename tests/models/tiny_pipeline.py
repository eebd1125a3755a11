"""Makes a folder of a diffusers pipeline with random weights, a few megabytes: ``python tiny_pipeline.py FOLDER``.

Runs in the environment that has diffusers. What it draws is noise, of every size that a real one draws.
"""

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    import torch  # type: ignore[import-not-found]  # lives in an environment of its own
    from diffusers import (  # type: ignore[import-not-found]  # as above
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # type: ignore[import-not-found]  # as above

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    )
    vae = AutoencoderKL(
        block_out_channels=[32] * 4,  # an eighth of the picture's sides, as real ones have
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    shape = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=1000, bos_token_id=0, pad_token_id=1, eos_token_id=2, **shape))
    StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer(*_words(folder), model_max_length=77),
        scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)


def _words(folder: Path) -> tuple[str, str]:
    """A tokenizer's files, with letters for words."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"<|startoftext|>": 0, "<pad>": 1, "<|endoftext|>": 2}
    for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.!'-":
        vocabulary |= {letter: len(vocabulary), f"{letter}</w>": len(vocabulary) + 1}
    names = folder / "vocabulary.json", folder / "merges.txt"
    names[0].write_text(json.dumps(vocabulary))
    names[1].write_text("#version: 0.2\n")
    return str(names[0]), str(names[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
