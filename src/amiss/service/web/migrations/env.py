"""Run by Alembic, with the connection that `amiss.service.web.history` has opened."""

from __future__ import annotations

from alembic import context

from amiss.service.web.history import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
