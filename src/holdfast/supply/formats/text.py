"""Text: YAML configurations, lists of requirements, licences, cards, vocabularies."""

import re

from holdfast.core.record import Severity
from holdfast.supply import rules, templates
from holdfast.supply.configs import PICKLED, review
from holdfast.supply.formats import pickles
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 64 * 2**20
MOST_YAML = 2**21
YAML = (".yaml", ".yml")
SCRIPT = Rule(
    "remote_code/program", "A program that is not read: {subject}", Severity.MEDIUM,
    "Do not run it before somebody has read it.", Verdict.UNREAD,
)  # fmt: skip
_TAG = re.compile(r"!!python/[\w/]*:?([\w.]*)|tag:yaml\.org,2002:python/[\w/]*:?([\w.]*)")
_PROGRAMS = (".sh", ".bat", ".cmd", ".ps1", ".js", ".pl", ".rb", ".lua", ".so", ".dll", ".pth")
_POINTER = b"version https://git-lfs.github.com/spec/"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def claims(part: Part) -> bool:
    """Bytes of UTF-8 without control characters, as far as the beginning shows."""
    head = part.head(4096)
    return bool(head) and b"\0" not in head and _decodes(head)


def _decodes(head: bytes) -> bool:
    try:
        return not _CONTROL.search(head.decode("utf-8"))
    except UnicodeDecodeError as error:
        cut = error.start >= len(head) - 3 and error.reason == "unexpected end of data"
        return cut and not _CONTROL.search(head[: error.start].decode("utf-8"))


def read(reading: Reading, part: Part) -> bool:
    """All of it. A pickle of protocol 0 is text as well, so the pickle machine comes first."""
    if part.head(len(_POINTER)) == _POINTER:
        reading.report(part, rules.UNKNOWN, "a pointer of Git LFS; the file itself is elsewhere")
        return True
    if pickles.read(reading, part):
        return True
    try:
        text = part.whole(MOST).decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    if _CONTROL.search(text):
        return False
    reading.took(part, "text")
    for match in _TAG.finditer(text):
        name = match[1] or match[2]
        reading.report(part, PICKLED, "a tag of YAML", part.start, show(name or match[0]))
    if part.suffix in YAML or part.called == "MLmodel":
        _yaml(reading, part, text)
    elif part.suffix in (".jinja", ".jinja2", ".j2"):
        templates.report(reading, part, "remote_code", text)
    elif part.suffix in _PROGRAMS or text.startswith("#!"):
        reading.report(part, SCRIPT, "no reader here follows it", None, show(part.called))
    return True


def _yaml(reading: Reading, part: Part, text: str) -> None:
    """Keys that name code; the reader builds strings, lists and dictionaries only."""
    import yaml

    if len(text) > MOST_YAML:
        raise Exhausted(f"more YAML than is read, which is {MOST_YAML:,} characters")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        documents = list(yaml.load_all(text, Loader=loader))
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise Malformed("no YAML that can be read") from error
    for document in documents:
        review(reading, part, document)
