"""Write what an empty database gets anew, after a migration was added."""

from everloom.store.migrations import keep, kept

for dialect in ("sqlite", "postgresql"):
    kept(dialect).write_text(keep(dialect), "utf-8")
