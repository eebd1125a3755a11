"""Who trains which models, by the settings."""

import sys
from collections.abc import Sequence
from pathlib import Path

from everloom.config import Settings
from everloom.models.files.weights import DEFAULT_MODEL
from everloom.models.llama.backend import LlamaBackend
from everloom.training.base import Trainer
from everloom.training.lora.trainer import LoraTrainer
from everloom.training.upstream.trainer import UpstreamTrainer


def build_trainers(settings: Settings, local: LlamaBackend) -> Sequence[Trainer]:
    """The trainers of a server: of its own models, and of those that an upstream trains."""
    names = {DEFAULT_MODEL, *local.loadable()}
    python = sys.executable if settings.finetune_python == Path() else str(settings.finetune_python)
    upstreams = [
        UpstreamTrainer({entry.id: entry.model or entry.id}, entry.base_url or settings.upstream, entry.api_key or None)
        for entry in settings.models
        if entry.fine_tuning
    ]
    return (
        *upstreams,
        LoraTrainer(
            names,
            local.path_of,
            python=python,
            memory=settings.finetune_memory or None,
            threads=settings.local_threads,
            context=settings.finetune_context,
        ),
    )
