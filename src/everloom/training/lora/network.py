"""The base model of a GGUF file in torch, frozen, with an adapter that learns. Runs in the child.

Weights are read tensor by tensor, each dequantised into its place: transformers' own reading of such files took 35 s
and twice the memory where this takes three (``docs/decisions/fine-tuning.md``).
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import gguf
import numpy as np
import peft
import torch
import transformers

from everloom.training.lora.gguf_model import GgufModel
from everloom.training.lora.plan import ALPHA, HEAD_ROWS, RANK
from everloom.training.lora.sequences import TokenSequence

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The seven matrices of a layer, by transformers' names and by GGUF's."""

_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_ENDS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


class TokenLosses(torch.autograd.Function):
    """How badly each token was foretold, and whether it was the likeliest: a head that does not learn.

    Its gradient is made on the way there, some rows at a time, so that the probabilities of a whole batch over the
    whole vocabulary never stand in memory.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> Any:
        """``hidden``: (tokens, width); gives losses and hits, (tokens,) each."""
        learns = ctx.needs_input_grad[0]
        losses, hits, back = [], [], []
        for start in range(0, len(labels), HEAD_ROWS):
            rows, wanted = hidden[start : start + HEAD_ROWS], labels[start : start + HEAD_ROWS, None]
            logits = (rows @ weight.T).float()
            total = torch.logsumexp(logits, -1, keepdim=True)
            losses.append((total - logits.gather(-1, wanted))[:, 0])
            hits.append(logits.argmax(-1) == wanted[:, 0])
            if learns:
                chances = logits.sub_(total).exp_()
                chances.scatter_add_(-1, wanted, torch.full_like(wanted, -1, dtype=chances.dtype))
                back.append(chances.to(weight.dtype) @ weight)
        if learns:
            ctx.save_for_backward(torch.cat(back))
        hit = torch.cat(hits)
        ctx.mark_non_differentiable(hit)
        return torch.cat(losses), hit

    @staticmethod
    def backward(ctx: Any, losses: Any, hits: Any) -> Any:
        """For ``hidden`` alone."""
        (back,) = ctx.saved_tensors
        return losses[:, None].to(back.dtype) * back, None, None


class Network:
    """A model with an adapter over its seven matrices a layer."""

    def __init__(self, model: GgufModel, device: str, seed: int, *, sparing: bool = False) -> None:
        self.device = device
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        torch.manual_seed(seed)
        base = load(model, device, dtype)
        if sparing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
            base.enable_input_require_grads()
        config = peft.LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            target_modules=[name.rpartition(".")[2] for name in MODULES],
            task_type="CAUSAL_LM",
        )
        self._model = peft.get_peft_model(base, config)
        self._model.train()
        self._decoder, self._head = base.model, base.lm_head.weight
        self.adapter = {name: part for name, part in self._model.named_parameters() if part.requires_grad}

    def losses(self, sequences: Sequence[TokenSequence], *, plain: bool = False) -> tuple[Any, Any, Any]:
        """Loss and hit of each token that is learned, and the number of its sequence. ``plain``: of the base alone."""
        longest = max(len(sequence.ids) for sequence in sequences)
        ids = np.zeros((len(sequences), longest), dtype=np.int64)  # what pads stands behind, where nothing sees it
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence.ids)] = sequence.ids
        places = [
            (row, place)
            for row, sequence in enumerate(sequences)
            for start, end in sequence.spans
            for place in range(max(1, start), end)
        ]
        rows, columns = torch.tensor(places, device=self.device).T
        tokens = torch.from_numpy(ids).to(self.device)
        with self._model.disable_adapter() if plain else nullcontext():
            hidden = self._decoder(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        losses, hits = TokenLosses.apply(hidden[rows, columns - 1], self._head, tokens[rows, columns])
        return losses, hits, rows


def load(model: GgufModel, device: str, dtype: Any) -> Any:
    """The model as transformers has it, frozen."""
    config = _config(model)
    with torch.device("meta"):
        network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype)
    weights = {name: tensor.to(device) for name, tensor in _weights(model, dtype)}
    missing, unknown = network.load_state_dict(weights, strict=False, assign=True)
    if config.tie_word_embeddings:
        network.lm_head.weight = network.model.embed_tokens.weight
        missing = [name for name in missing if name != "lm_head.weight"]
    if missing or unknown:
        raise ValueError(f"the model file's weights are not those of its kind: {[*missing, *unknown][:5]}")
    rotary = type(network.model.rotary_emb)(config=config)  # its numbers are no weights, and stood nowhere
    if "rope_freqs.weight" in model.tensors:
        rotary.inv_freq = rotary.inv_freq / torch.from_numpy(_read(model, "rope_freqs.weight"))
    network.model.rotary_emb = rotary.to(device)
    network.requires_grad_(False)
    return network


def _config(model: GgufModel) -> Any:
    shape = model.shape()
    biased = "blk.0.attn_q.bias" in model.tensors
    kind = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[shape.architecture]
    more = {"attention_bias": biased, "head_dim": shape.head_width} if shape.architecture == "llama" else {}
    rope = {"rope_type": "default", "rope_theta": float(model.key("rope.freq_base", 10_000.0))}
    return kind(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=float(model.key("attention.layer_norm_rms_epsilon", 1e-5)),
        rope_parameters=rope,
        tie_word_embeddings="output.weight" not in model.tensors,
        **more,
    )


def _weights(model: GgufModel, dtype: Any) -> Iterator[tuple[str, Any]]:
    shape = model.shape()
    turned = {"attn_q": shape.heads, "attn_k": shape.kv_heads} if shape.architecture == "llama" else {}
    names = {f"{theirs}.weight": (f"{ours}.weight", 0) for ours, theirs in _ENDS.items()}
    for layer in range(shape.layers):
        for ours, theirs in (MODULES | _NORMS).items():
            for part in ("weight", "bias"):
                place = f"model.layers.{layer}.{ours}.{part}"
                names[f"blk.{layer}.{theirs}.{part}"] = place, turned.get(theirs, 0)
    for name in model.tensors:
        if name in names:
            place, heads = names[name]
            data = _read(model, name)
            yield place, torch.from_numpy(unturn(data, heads) if heads else data).to(dtype)


def _read(model: GgufModel, name: str) -> Any:
    """A tensor as 32-bit numbers, its slowest dimension first."""
    tensor = model.tensors[name]
    kind = gguf.GGMLQuantizationType(tensor.kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows = (*reversed(tensor.shape[1:]), tensor.shape[0] // block * size)
    data = np.memmap(model.path, dtype=np.uint8, mode="r", offset=tensor.offset, shape=rows)
    if kind == gguf.GGMLQuantizationType.F32:
        return np.array(data.view(np.float32))
    if kind == gguf.GGMLQuantizationType.F16:
        return data.view(np.float16).astype(np.float32)
    return gguf.dequantize(data, kind)


def turn(weight: Any, heads: int) -> Any:
    """Rows of a query's or key's matrix as GGUF files of llama have them: their two rotated halves interleaved."""
    rest = weight.shape[1:]
    return weight.reshape(heads, 2, -1, *rest).swapaxes(1, 2).reshape(weight.shape).copy()


def unturn(weight: Any, heads: int) -> Any:
    """Back from ``turn``."""
    rest = weight.shape[1:]
    return weight.reshape(heads, -1, 2, *rest).swapaxes(1, 2).reshape(weight.shape).copy()
