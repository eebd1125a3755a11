"""all-MiniLM-L6-v2 in numpy, in a child process: embeddings, and moderation by heads over them."""
