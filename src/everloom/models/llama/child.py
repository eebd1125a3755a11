"""The child process that holds one local model: llama.cpp's own server on loopback, behind a random key.

``python -m everloom.models.llama.child`` reads one frame of JSON (``path, key, slots, context, threads, embeds,
adapters``) from standard input, loads the model, writes one frame of JSON (``url``, or ``error``) and serves until
standard input ends. The parent holds the other end of that pipe, so the child is gone when the parent is, however it
ended.
"""

import json
import os
from typing import Any

from everloom.models.subprocesses.framing import ParentPipe


def main() -> None:
    """Serve one model until the parent lets go."""
    parent = ParentPipe()
    frames = parent.frames()
    config = json.loads(next(frames, b"null"))
    if config is None:
        os._exit(0)
    try:
        engine = _serve(config)  # which stops when the object goes
        said = {"url": str(engine.listening_address)}
    except Exception as error:
        said = {"error": str(error)[:4000]}
    parent.say(json.dumps(said).encode())
    if "url" in said:
        for _ in frames:
            pass
    os._exit(0)  # at once, whatever the engine's threads are doing


def _serve(config: dict[str, Any]) -> Any:
    # Spinning OpenMP threads gave 2 tokens/s on a busy machine, waiting ones 41. Read when the library loads.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import xllamacpp  # type: ignore[import-untyped]  # the wheel brings no types

    params = xllamacpp.CommonParams()
    params.model.path = config["path"]
    # With a scale of nothing: each request names the one that it wants on.
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in config["adapters"]]
    params.n_parallel = config["slots"]
    params.n_ctx = config["slots"] * config["context"]  # divided evenly among the slots
    params.kv_unified = False
    if config["embeds"]:
        params.embedding = True
        # A text is read in one go, and whatever is read together attends together before it is masked: a batch no
        # larger than the longest text was a third faster than one of 2 048 tokens, in half the memory.
        params.n_batch = params.n_ubatch = config["context"]
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = max(config["threads"], os.cpu_count() or 1)
    params.api_keys = [config["key"]]
    params.n_threads_http = 2 * config["slots"] + 4  # those it works on, as many that wait, and short questions
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
