"""HDF5 files: Keras models and weights, PyTables, and any other; told by their mark.

Loaders follow links and read data from wherever the file says, so every object that can be reached
is looked at; the numbers themselves are passed over.
"""

from collections.abc import Iterator

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.formats import keras, pickles
from holdfast.supply.hdf5 import MAGIC, File
from holdfast.supply.hdf5_parts import Attribute, Item
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

_COPY = "Load it with Keras 3.13.2 or later, if at all, where no file lies that must not be read."
LINK = Rule(
    "keras_scan/external-link", "The file reads another file by a link: {subject}", Severity.HIGH,
    _COPY, refs=("CVE-2026-1669",),
)  # fmt: skip
DATA = Rule(
    "keras_scan/external-data", "The file takes its numbers from another file: {subject}",
    Severity.HIGH, _COPY, refs=("CVE-2026-1669",),
)  # fmt: skip
SIZE = Rule(
    "keras_scan/size", "A data set claims far more memory than it stores: {subject}",
    Severity.MEDIUM, "Do not load the file: it would exhaust the memory.",
    refs=("CVE-2026-0897",),
)  # fmt: skip
ROWS = Rule(
    "keras_scan/pickled-rows", "PyTables unpickles the rows of {subject}", Severity.MEDIUM,
    "They are not read here. Ask for the table in another format.", Verdict.UNREAD,
)  # fmt: skip

_CONFIGURATIONS = ("model_config", "training_config")
_FLOOR, _EXPANSION = 2**32, 1000
"""Keras's own bounds: a data set of more bytes has to be stored in at least a thousandth of them."""
_TEXTS = 64 * 2**20


def claims(part: Part) -> bool:
    """The mark, at the beginning or behind a block of the user's own."""
    return _origin(part) is not None


def _origin(part: Part) -> int | None:
    """Where the mark is: at 0, 512, 1024, and so on, as HDF5 itself looks for it."""
    at = 0
    while at + len(MAGIC) <= len(part):
        if part.head(len(MAGIC), at) == MAGIC:
            return at
        at = at * 2 or 512
    return None


def read(reading: Reading, part: Part) -> bool:
    """Every object that can be reached; what cannot be read ends the part."""
    at = _origin(part) or 0
    if at:
        reading.dispatch(reading, part.slice(part.start, part.start + at))
    file = File(part.data, part.start + at, part.end)
    reading.took(part, "HDF5", len(part) - at)
    if file.driver:
        reading.report(part, rules.BUDGET, "an HDF5 file in several pieces")
    over = part.end - file.origin - file.size
    if over > 0:
        reading.report(part, rules.TRAILING, f"{over:,} bytes after the HDF5 file", part.end - over)
    texts = 0
    for item in file.walk():
        _item(reading, part, file, item)
        for attribute in item.attributes:
            for text in _texts(reading, part, file, attribute):
                texts += len(text)
                if texts > _TEXTS:
                    raise Exhausted(f"more than {_TEXTS:,} bytes of texts in an HDF5 file")
                _text(reading, part, item, attribute, text)
    return True


def _item(reading: Reading, part: Part, file: File, item: Item) -> None:
    """Links, data kept elsewhere, and sizes of one object."""
    for link in item.links:
        if link.external:
            reason = f"{show(item.path, 100)} links to {show(link.path, 100)} of that file"
            reading.report(part, LINK, reason, link.at, show(link.file, 120))
        elif not link.known:
            reading.report(part, rules.BUDGET, "a link of a kind that a program defines", link.at)
    for name in item.files:
        reason = f"the numbers of {show(item.path, 100)} are kept in it"
        reading.report(part, DATA, reason, item.at, show(name, 120))
    if item.virtual:
        names = file.sources(item.virtual) or ["an unknown file"]
        reason = f"{show(item.path, 100)} is made of data sets of other files"
        reading.report(part, DATA, reason, item.at, show(names[0], 120))
    stored = len(part) if item.stored is None else item.stored
    if item.declared > max(_FLOOR, _EXPANSION * stored):
        reason = f"{item.declared:,} bytes, of which at most {stored:,} are in the file"
        reading.report(part, SIZE, reason, item.at, show(item.path, 100))


def _texts(reading: Reading, part: Part, file: File, attribute: Attribute) -> Iterator[bytes]:
    """Texts of an attribute; a configuration that is none, or cannot be read, is an issue."""
    found = 0
    for text in file.texts(attribute):
        found += 1
        yield text
    if not found and attribute.name in _CONFIGURATIONS:
        reading.report(part, rules.BUDGET, f"{attribute.name} that is no text", attribute.at)


def _text(reading: Reading, part: Part, item: Item, attribute: Attribute, text: bytes) -> None:
    """One text: a configuration of Keras, or a pickle, for which PyTables takes any of them."""
    if attribute.name in _CONFIGURATIONS:
        keras.parse(reading, part, text, attribute.name)
    elif attribute.name == "PSEUDOATOM" and text == b"object":
        reading.report(part, ROWS, "each is a pickle", item.at, show(item.path, 100))
    elif text.endswith(b".") and len(text) > 2:
        inner = part.within(0, len(text), f"{item.path}@{attribute.name}", text)
        pickles.read(reading, inner, named=False)
