"""Records and assessments in SQLite or PostgreSQL, tensors as safetensors files named by content."""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Self

import safetensors.torch
from alembic import command
from alembic.config import Config
from pydantic import TypeAdapter
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from torch import Tensor

from holdfast.core.assessment import Assessment
from holdfast.core.errors import InputError
from holdfast.core.record import Record
from holdfast.store.tables import AssessmentRow, RecordRow

SCHEMA = 1
"""Version of the JSON bodies; raise it when a stored dataclass changes its meaning."""

_records = TypeAdapter(Record)
_assessments = TypeAdapter(Assessment)


class Store:
    """Append-only: a record, once written under its key, is never changed."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        """Open, and bring the schema up to date.

        Args:
            folder: where tensors live, and the SQLite file when `url` is None.
            url: SQLAlchemy URL of a shared database, such as postgresql+psycopg://...

        Raises:
            InputError: the folder or the database cannot be used.
        """
        self._tensors = folder / "tensors"
        try:
            self._tensors.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                "the store's folder", got=error, fix="give a folder you may write to"
            ) from error
        self._engine = _connect(url or f"sqlite:///{folder / 'holdfast.db'}")

    @classmethod
    def default(cls) -> Self:
        """`.holdfast/` here, or the database that HOLDFAST_DATABASE_URL names."""
        return cls(Path(".holdfast"), os.environ.get("HOLDFAST_DATABASE_URL"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def add(self, record: Record) -> None:
        """Keep a record; the first one under a key stands."""
        row = RecordRow(
            key=record.key,
            method=record.method,
            model_digest=record.subject.model_digest,
            data_digest=record.subject.data_digest,
            started=record.started,
            schema_version=SCHEMA,
            body=_records.dump_python(record, mode="json"),
        )
        with Session(self._engine) as session:
            session.add(row)
            try:
                session.commit()
            except IntegrityError:
                session.rollback()

    def get(self, key: str) -> Record | None:
        """The record under `key`, or None."""
        with Session(self._engine) as session:
            row = session.get(RecordRow, key)
            return _records.validate_python(row.body) if row else None

    def find(self, *, model_digest: str = "", method: str = "") -> list[Record]:
        """Records of a model, of a method or of both, oldest first."""
        query = select(RecordRow).order_by(RecordRow.started, RecordRow.key)
        if model_digest:
            query = query.where(RecordRow.model_digest == model_digest)
        if method:
            query = query.where(RecordRow.method == method)
        with Session(self._engine) as session:
            return [_records.validate_python(row.body) for row in session.scalars(query)]

    def add_assessment(self, assessment: Assessment) -> int:
        """Keep an assessment; returns its number."""
        row = AssessmentRow(
            title=assessment.title,
            model_digest=assessment.subject.model_digest,
            stored=datetime.now(UTC).isoformat(timespec="seconds"),
            schema_version=SCHEMA,
            body=_assessments.dump_python(assessment, mode="json"),
        )
        with Session(self._engine) as session:
            session.add(row)
            session.commit()
            return row.id

    def assessment(self, number: int | None = None) -> Assessment:
        """The assessment `number`, or the newest one.

        Raises:
            InputError: there is none.
        """
        query = select(AssessmentRow).order_by(AssessmentRow.id.desc()).limit(1)
        if number is not None:
            query = query.where(AssessmentRow.id == number)
        with Session(self._engine) as session:
            row = session.scalar(query)
            if row is None:
                what = "an assessment" if number is None else f"assessment {number}"
                raise InputError(
                    f"{what} in the store", got="none", fix="run `holdfast assess` first"
                )
            return _assessments.validate_python(row.body)

    def put_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Keep tensors by content; returns name to sha256."""
        return {name: self._put(tensor) for name, tensor in tensors.items()}

    def tensor(self, digest: str) -> Tensor:
        """A kept tensor.

        Raises:
            InputError: it is not there, or its content is not what its name says.
        """
        path = self._tensors / f"{digest}.safetensors"
        if not path.is_file():
            raise InputError(
                f"tensor {digest[:12]}", got="no such file", fix=f"look in {self._tensors}"
            )
        body = path.read_bytes()
        if hashlib.sha256(body).hexdigest() != digest:
            raise InputError(
                f"tensor {digest[:12]}", got="changed content", fix="delete it and assess again"
            )
        found: Tensor = safetensors.torch.load(body)["tensor"]
        return found

    def _put(self, tensor: Tensor) -> str:
        body = safetensors.torch.save({"tensor": tensor.detach().cpu().contiguous()})
        digest = hashlib.sha256(body).hexdigest()
        path = self._tensors / f"{digest}.safetensors"
        if not path.exists():
            with NamedTemporaryFile(dir=self._tensors, delete=False) as file:
                file.write(body)
            Path(file.name).replace(path)  # a reader sees all of it or none
        return digest


def _connect(url: str) -> Engine:
    """An engine whose database has the newest schema."""
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _durable)
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (DBAPIError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "the store's database", got=reason, fix="check HOLDFAST_DATABASE_URL"
        ) from error
    return engine


def _durable(connection: object, _: object) -> None:
    """SQLite that survives a kill at any moment and lets others read meanwhile."""
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DB-API connection
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
