"""The nouns: what the client receives is what the work changes is what the table keeps."""
