"""Pictures and sounds that lie beside models. They are no models, and are not read."""

from holdfast.supply import rules
from holdfast.supply.reading import Part, Reading

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture",
    b"GIF87a": "a GIF picture", b"GIF89a": "a GIF picture", b"fLaC": "a FLAC sound",
    b"%PDF-": "a PDF document",
}  # fmt: skip


def claims(part: Part) -> bool:
    """The mark of a picture or a sound."""
    return any(part.head(len(magic)) == magic for magic in _MAGIC)


def read(reading: Reading, part: Part) -> bool:
    """Says what it is."""
    kind = next(name for magic, name in _MAGIC.items() if part.head(len(magic)) == magic)
    reading.report(part, rules.MEDIA, kind)
    return True
