"""How the heads of ``minilm-moderation`` were trained (``docs/moderation.md``): ``python -m training.moderation``."""
