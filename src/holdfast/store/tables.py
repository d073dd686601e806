"""The tables, as SQLAlchemy sees them. The schema itself is made by the migrations."""

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Root of the tables."""


class RecordRow(Base):
    """One finished check."""

    __tablename__ = "record"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    method: Mapped[str] = mapped_column(String(128), index=True)
    model_digest: Mapped[str] = mapped_column(String(64), index=True)
    data_digest: Mapped[str] = mapped_column(String(64))
    started: Mapped[str] = mapped_column(String(40))
    schema_version: Mapped[int]
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class AssessmentRow(Base):
    """One assessed model with its outcomes and, after review, its verdict."""

    __tablename__ = "assessment"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    title: Mapped[str] = mapped_column(String(256))
    model_digest: Mapped[str] = mapped_column(String(64), index=True)
    stored: Mapped[str] = mapped_column(String(40))
    schema_version: Mapped[int]
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
