"""What Alembic runs for every command: the schema's history as SQL text (see this package's docstring)."""

from alembic import context

from everloom.store.schema import metadata

context.configure(
    dialect_name=context.config.attributes["dialect"],
    dialect_opts={"paramstyle": "named"},
    output_buffer=context.config.attributes["output"],
    target_metadata=metadata(),
    transactional_ddl=False,  # the adapter has begun the transaction
)
context.run_migrations()
