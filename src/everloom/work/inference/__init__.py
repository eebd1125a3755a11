"""What is made of models' answers: chunks, completions built on chat, stored ones, vectors, images that are kept."""
