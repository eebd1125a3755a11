"""Models small enough to be trained in a second, with the default model's words: weights of no meaning."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from everloom.training.lora.gguf_model import read_model
from tests.weights import default_gguf

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 64, 128, 2, 4, 2


def tiny_model(
    path: Path, architecture: str = "llama", *, template: str | None = None, context: int = 512, **more: Any
) -> Path:
    """Write one. ``more``: further keys of the architecture's own, as ``expert_count``."""
    source = read_model(default_gguf()).keys
    chance = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(source["tokenizer.ggml.tokens"]))
    for name, value in more.items():
        writer.add_key_value(f"{architecture}.{name}", value, gguf.GGUFValueType.UINT32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(source["tokenizer.ggml.pre"])
    writer.add_token_list(source["tokenizer.ggml.tokens"])
    writer.add_token_types(source["tokenizer.ggml.token_type"])
    writer.add_token_merges(source["tokenizer.ggml.merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template or source["tokenizer.chat_template"])

    def add(name: str, *shape: int, ones: bool = False) -> None:
        data = np.ones(shape) if ones else chance.normal(0, 0.08, shape)
        writer.add_tensor(name, data.astype(np.float32))

    add("token_embd.weight", len(source["tokenizer.ggml.tokens"]), WIDTH)
    add("output_norm.weight", WIDTH, ones=True)
    side = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}.weight", WIDTH, ones=True)
        for name, rows in (("attn_q", WIDTH), ("attn_k", side), ("attn_v", side)):
            add(f"blk.{layer}.{name}.weight", rows, WIDTH)
            if architecture == "qwen2":
                add(f"blk.{layer}.{name}.bias", rows)
        add(f"blk.{layer}.attn_output.weight", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", INNER, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", INNER, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
