"""What Everloom costs, beside what the same machine can do at best. See README.md."""
