"""Records of finished checks, and assessments that name them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first two tables."""
    op.create_table(
        "record",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("method", sa.String(128), nullable=False, index=True),
        sa.Column("model_digest", sa.String(64), nullable=False, index=True),
        sa.Column("data_digest", sa.String(64), nullable=False),
        sa.Column("started", sa.String(40), nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_table(
        "assessment",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("title", sa.String(256), nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False, index=True),
        sa.Column("stored", sa.String(40), nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("assessment")
    op.drop_table("record")
