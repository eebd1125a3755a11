"""The child process that trains: ``python -P child.py``, in whatever Python the extra ``finetune`` is installed.

Standing alone there, it finds this package by its own path, and of it only what needs nothing but Python, torch,
transformers, peft and gguf. What it hears and says: ``link.py``. It ends with its input.
"""

import errno
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

_KEPT = ("PATH", "HOME", "LANG", "LC_", "TMP", "TEMP", "LD_LIBRARY_PATH", "DYLD_", "CUDA_", "NVIDIA_", "SYSTEMROOT")
"""What of the environment is left: the server's holds keys."""

_AWAY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})


def main() -> None:
    """Train once."""
    package = types.ModuleType("everloom")
    package.__path__ = [str(Path(__file__).parents[2])]
    sys.modules["everloom"] = package
    from everloom.models.subprocesses.framing import ParentPipe
    from everloom.training.lora.link import ParentLink, TrainingRefused

    pipe = ParentPipe()
    link = ParentLink(pipe)
    pipe.listen(link.hear)
    order = link.order()
    _set_environment(order["threads"])
    try:
        _train(order, link)
    except TrainingRefused as refused:
        link.say("failed", **refused.fields)
    except ImportError as error:
        text = f"What fine-tuning needs is not installed beside it (pip install 'everloom[finetune]'): {error}"
        link.say("failed", message=text, code="training_failed", param=None)
    except MemoryError:
        link.say("failed", message="There was not enough memory.", code="insufficient_memory", param=None)
    except OSError as error:
        told = "away" if error.errno in _AWAY else "failed"
        link.say(told, message=f"{error}", code="training_failed", param=None)
    except Exception as error:
        out = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
        code = "insufficient_memory" if out else "training_failed"
        link.say("failed", message=f"Training failed: {error or error!r}", code=code, param=None)
    os._exit(0)


def _set_environment(threads: int) -> None:
    """Before torch is imported, which reads it then."""
    for name in list(os.environ):
        if not name.startswith(_KEPT):
            del os.environ[name]
    os.environ |= {
        "OMP_WAIT_POLICY": "passive",  # spinning threads made a step twenty times as long on a busy machine
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUTF8": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def _train(order: dict[str, Any], link: Any) -> None:
    from everloom.training.lora.gguf_model import read_model
    from everloom.training.lora.link import TrainingRefused
    from everloom.training.lora.sequences import read_examples
    from everloom.training.lora.tokens import Texts

    try:
        model = read_model(Path(order["gguf"]))
        texts = Texts(model)
    except (ValueError, KeyError) as error:
        raise TrainingRefused(f"The base model cannot be trained: {error}", param="model") from error
    link.say("opened", knows_tools=texts.knows_tools, marks_calls=texts.marks_calls)
    order = link.order()
    found = {}
    for which in ("training", "validation"):
        if order[which]:
            try:
                found[which] = read_examples(Path(order[which]), texts, order["context"])
            except ValueError as error:
                raise TrainingRefused(f"The {which} file: {error}", "invalid_file", f"{which}_file") from error
            _warn(found[which], which, order["context"], link)
    if not found["training"].items:
        text = f"No example of the training file has anything to learn within {order['context']} tokens."
        raise TrainingRefused(text, "invalid_file", "training_file")
    _learn(order, model, found, link)


def _warn(found: Any, which: str, longest: int, link: Any) -> None:
    count = len(found.items) + found.skipped
    if found.truncated:
        text = f"{found.truncated} of {count} examples of the {which} file are longer than {longest} tokens"
        link.say("warned", message=f"{text}; their ends were cut off.")
    if found.skipped:
        text = f"{found.skipped} of {count} examples of the {which} file were left out"
        link.say("warned", message=f"{text}: within {longest} tokens they have nothing to be learned.")


def _learn(order: dict[str, Any], model: Any, found: dict[str, Any], link: Any) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(order["folder"]) / "inductor")  # It is made, and never used.
    warnings.simplefilter("ignore")  # of libraries about each other, to nobody who could do anything about it
    import torch
    import transformers

    from everloom.training.lora.network import Network
    from everloom.training.lora.plan import LARGEST_MICRO_BATCH, choose, memory_need
    from everloom.training.lora.training import Training, fits

    transformers.logging.set_verbosity_error()
    if order["threads"]:
        torch.set_num_threads(order["threads"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    need = memory_need(model.shape(), 2 if device == "cuda" else 4)
    limit = torch.cuda.mem_get_info()[0] if device == "cuda" else order["memory"]
    sides = 2 if order["method"] == "dpo" else 1
    longest = sides * max(length for examples in found.values() for length in examples.lengths())
    most, sparing = fits(need, longest, limit, LARGEST_MICRO_BATCH[device])
    train, valid = found["training"], found.get("validation")
    given = (order["n_epochs"], order["batch_size"], order["learning_rate_multiplier"], order["beta"])
    numbers = choose(len(train.items), *given)
    network = Network(model, device, order["seed"], sparing=sparing)
    training = Training(order, model, network, numbers, train, valid, most, link)
    largest = min(most, sum(sorted(train.lengths())[-numbers.batch_size :]) * sides)
    training.run(need.of(max(largest, longest), sparing=sparing))


if __name__ == "__main__":
    main()
