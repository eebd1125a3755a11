"""Where the chunks of files are kept, to be found again by meaning and by words."""
