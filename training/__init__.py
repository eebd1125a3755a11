"""How the models that come with Everloom were made. Nothing here is installed; run it from the repository's root."""
