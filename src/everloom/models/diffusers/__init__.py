"""Images of diffusers pipelines, each in a child process."""
