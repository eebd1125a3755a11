"""LoRA on models of this machine, in child processes: ``docs/decisions/fine-tuning.md``."""
