"""What was scored, what people said of it, and drift tests: by SQLAlchemy, brought up to date by Alembic."""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, defer, mapped_column

from ...data import Collection, Item
from ...data.collection import Pixels
from ...data.decode import decode_image
from ...errors import DataError, ServiceError, UsageError

#: What people say of an image.
Label = Literal["normal", "anomalous"]

_MIGRATIONS = Path(__file__).parent / "migrations"
#: Entries between two looks at age and size, or the share of the bytes to be kept at most.
_LOOK_EVERY, _LOOK_AT_SHARE = 500, 0.05
#: Bytes of an entry beside its thumbnail.
_ROW = 300
#: More than that neither dates nor whole numbers of a database can tell.
_MOST_DAYS, _MOST_BYTES = 36_500, (1 << 63) - 1

logger = logging.getLogger("amiss")


class Base(DeclarativeBase):
    """What Alembic compares a database with."""


class Entry(Base):
    """One image that was scored; `rate` is the false-alarm rate at which it was decided, `size` the bytes it takes,
    `image` its file, where images are kept."""

    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime.datetime] = mapped_column(index=True)
    model: Mapped[str] = mapped_column(index=True)
    version: Mapped[str]
    name: Mapped[str]
    score: Mapped[float] = mapped_column(sa.Double)
    p_value: Mapped[float] = mapped_column(sa.Double)
    is_anomaly: Mapped[bool]
    rate: Mapped[float] = mapped_column(sa.Double)
    size: Mapped[int]
    thumbnail: Mapped[bytes | None]
    label: Mapped[str | None] = mapped_column(index=True)
    labelled: Mapped[datetime.datetime | None]
    image: Mapped[bytes | None]  # the last column: SQLite does not read past those it is asked for


class DriftState(Base):
    """A drift test of a version of a model, as `DriftTest.to_json` gives it, and when it said that pictures changed."""

    __tablename__ = "drift"

    model: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(sa.Text)
    changed: Mapped[datetime.datetime | None]


@dataclass(frozen=True)
class Said:
    """Images that people said something of.

    Attributes:
        normal, anomalous: those of each label; read from the database when an item is read.
        without_image: how many entries have a label, but no image.
    """

    normal: Collection
    anomalous: Collection
    without_image: int


@dataclass(frozen=True)
class Filter:
    """Which entries are asked for; None for all.

    Attributes:
        model: of this name.
        is_anomaly: flagged, or not.
        label: that people gave; `none` for entries without.
        name: a part of the image's name, whatever its case.
        before: entries older than this one.
    """

    model: str | None = None
    is_anomaly: bool | None = None
    label: Label | Literal["none"] | None = None
    name: str | None = None
    before: int | None = None


class History:
    """Entries in a database. Its methods wait for the disk; call them in one thread.

    Args:
        url: of the database, as SQLAlchemy takes it, or the path of an SQLite file.
        days: entries older than this are forgotten, at the latest those of a hundred years ago.
        megabytes: of images, thumbnails and rows; beyond them the oldest entries are forgotten.
        must_exist: whether an SQLite file has to be there already.

    Raises:
        UsageError: days or megabytes are below 0, or no number.
        ServiceError: the database cannot be opened, is missing where it must exist, or a newer amiss has made it.
    """

    def __init__(self, url: str, days: float = 30, megabytes: float = 500, *, must_exist: bool = False) -> None:
        for unit, value in (("days", days), ("megabytes", megabytes)):
            if not value >= 0:
                raise UsageError(f"a history cannot be kept for {value} {unit}; give 0 or more")
        self._days, self._most = min(days, _MOST_DAYS), int(min(megabytes * (1 << 20), _MOST_BYTES))
        self._added = self._grown = 0
        try:
            address = sa.make_url(url if "://" in url else f"sqlite:///{url}")
            if must_exist and address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
                raise ServiceError(f"there is no history at {_shown(url)}; give the --store that amiss serve was given")
            self._engine = sa.create_engine(address)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _as_shared_file)
            with self._engine.begin() as connection:
                config = Config()
                config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except (sa.exc.SQLAlchemyError, CommandError, ImportError) as error:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            raise ServiceError(
                f"the history at {_shown(url)} cannot be opened ({cause}); give another --store"
            ) from error
        self.forget()

    @staticmethod
    def entry(*, name: str, thumbnail: bytes | None, image: bytes | None = None, **facts: Any) -> Entry:
        """An entry of now, to be added; `facts` are columns of `Entry`."""
        size = _ROW + len(name) + len(thumbnail or b"") + len(image or b"")
        return Entry(time=utc_now(), name=name, thumbnail=thumbnail, image=image, size=size, **facts)

    def add(self, entries: Sequence[Entry]) -> list[int]:
        """Keep entries; returns their numbers."""
        with self._session() as session:
            session.add_all(entries)
            session.flush()
            numbers = [entry.id for entry in entries]
        self._added += len(entries)
        self._grown += sum(entry.size for entry in entries)
        if self._added >= _LOOK_EVERY or self._grown >= _LOOK_AT_SHARE * self._most:
            self._added = self._grown = 0
            self.forget()
        return numbers

    def entries(self, wanted: Filter, most: int) -> list[Entry]:
        """The latest entries that are wanted, latest first, without their thumbnails."""
        pictures = (defer(Entry.thumbnail), defer(Entry.image))
        query = sa.select(Entry).options(*pictures).order_by(Entry.id.desc()).limit(most)
        if wanted.model is not None:
            query = query.where(Entry.model == wanted.model)
        if wanted.is_anomaly is not None:
            query = query.where(Entry.is_anomaly == wanted.is_anomaly)
        if wanted.label is not None:
            query = query.where(Entry.label.is_(None) if wanted.label == "none" else Entry.label == wanted.label)
        if wanted.name:
            query = query.where(Entry.name.icontains(wanted.name, autoescape=True))
        if wanted.before is not None:
            query = query.where(Entry.id < wanted.before)
        with self._session() as session:
            return list(session.scalars(query))

    def thumbnail(self, number: int) -> bytes | None:
        """A small JPEG of the image; None where there is none."""
        with self._session() as session:
            return session.scalar(sa.select(Entry.thumbnail).where(Entry.id == number))

    def label(self, number: int, label: Label | None) -> bool:
        """Keep what people say of an entry, or take it back; returns whether there is such an entry."""
        now = None if label is None else utc_now()
        change = sa.update(Entry).where(Entry.id == number).values(label=label, labelled=now)
        with self._session() as session:
            return bool(session.execute(change).rowcount)  # type: ignore[attr-defined]  # of an update there is one

    def said(self, model: str) -> Said:
        """The images of a model that people called normal or anomalous; of an image that was scored several times, what
        was said last."""
        query = sa.select(Entry.id, Entry.name, Entry.label).where(Entry.model == model, Entry.label.is_not(None))
        latest: dict[bytes, tuple[str | None, Item]] = {}
        without_image = 0
        with self._session() as session:
            for number, name, label in session.execute(query.order_by(Entry.labelled, Entry.id)).all():
                content = session.scalar(sa.select(Entry.image).where(Entry.id == number))
                if content is None:
                    without_image += 1
                    continue
                item = Item(f"{name} (entry {number})", partial(self._pixels, number), anomalous=label == "anomalous")
                key = hashlib.sha256(content).digest()
                latest.pop(key, None)
                latest[key] = (label, item)  # behind those of which something was said before

        def labelled(wanted: Label) -> Collection:
            return Collection([item for label, item in latest.values() if label == wanted], f"images called {wanted}")

        return Said(labelled("normal"), labelled("anomalous"), without_image)

    def models(self) -> list[str]:
        """Names of the models that something was said of, sorted."""
        query = sa.select(Entry.model).where(Entry.label.is_not(None)).distinct().order_by(Entry.model)
        with self._session() as session:
            return list(session.scalars(query))

    def _pixels(self, number: int) -> Pixels:
        with self._session() as session:
            found = session.execute(sa.select(Entry.name, Entry.image).where(Entry.id == number)).one_or_none()
        if found is None or found.image is None:
            raise DataError(f"entry {number} of the history has been forgotten meanwhile; start again")
        return decode_image(found.image, f"{found.name} (entry {number})")

    def recent(self, model: str, version: str, most: int) -> list[tuple[float, bool, float]]:
        """p-value, decision and false-alarm rate of the latest entries of a version of a model, latest first."""
        query = sa.select(Entry.p_value, Entry.is_anomaly, Entry.rate)
        query = query.where(Entry.model == model, Entry.version == version).order_by(Entry.id.desc()).limit(most)
        with self._session() as session:
            return [(p_value, flag, rate) for p_value, flag, rate in session.execute(query)]

    def drift(self, model: str, version: str) -> DriftState | None:
        """What is kept of the drift test of a version of a model."""
        with self._session() as session:
            return session.get(DriftState, (model, version))

    def keep_drift(self, model: str, version: str, state: str, changed: datetime.datetime | None) -> None:
        """Keep the state of a drift test in place of the older one; `changed` has a zone."""
        naive = None if changed is None else changed.astimezone(datetime.UTC).replace(tzinfo=None)
        with self._session() as session:
            session.merge(DriftState(model=model, version=version, state=state, changed=naive))

    def forget(self) -> None:
        """Delete what is too old, and the oldest of what is too much."""
        oldest = utc_now() - datetime.timedelta(days=self._days)
        newer = sa.func.sum(Entry.size).over(order_by=Entry.id.desc()).label("newer")
        sums = sa.select(Entry.id, newer).subquery()
        with self._session() as session:
            session.execute(sa.delete(Entry).where(Entry.time < oldest))
            last = session.scalar(sa.select(sa.func.max(sums.c.id)).where(sums.c.newer > self._most))
            if last is not None:
                session.execute(sa.delete(Entry).where(Entry.id <= last))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session


def utc_now() -> datetime.datetime:
    """The time without its zone, as databases keep it."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def _as_shared_file(connection: Any, _: object) -> None:
    """Readers and a writer at once, and no waiting for the disk at every entry; a crash loses no whole file."""
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _shown(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return url
