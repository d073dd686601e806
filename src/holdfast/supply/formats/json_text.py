"""JSON: configurations, tokenizers, indexes of shards."""

import json
from collections import Counter
from typing import Any

from holdfast.core.record import Severity
from holdfast.supply.configs import review
from holdfast.supply.pickle_values import Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 64 * 2**20
DUPLICATE = Rule(
    "remote_code/duplicate-key", "A key is given twice: {subject}", Severity.MEDIUM,
    "Readers differ in which one they take. Ask for a file that has it once.", Verdict.MALFORMED,
)  # fmt: skip


def claims(part: Part) -> bool:
    """A brace or a bracket, after white space and the mark of UTF-8."""
    return part.head(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read(reading: Reading, part: Part) -> bool:
    """The whole document; false where it is no JSON and is not called so."""
    named, twice = part.suffix == ".json", set[str]()
    if len(part) > MOST and not named:
        return False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            counts = Counter(key for key, _ in items)
            twice.update(key for key, count in counts.items() if count > 1)
        return found

    try:
        text = part.whole(MOST).decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        if not named:
            return False
        raise Malformed("no JSON that can be read") from error
    reading.took(part, "json")
    for key in sorted(twice)[:20]:
        reading.report(part, DUPLICATE, "in one object", None, show(key))
    review(reading, part, document)
    return True
