"""Chat, completions and embeddings of GGUF files, in a child process that runs llama.cpp."""
