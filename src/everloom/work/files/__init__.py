"""Files and uploads: bytes that are kept before they are acknowledged."""
