"""Text that models carry beside their numbers: does it hold code, or bytes that are a model file?

No loader of these formats runs it, but programs that read it have done so: by `eval`, by a config
library that calls what `_target_` names, by a template engine, by a page that shows it.
"""

import binascii
import re

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.pickle_values import show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule

MOST = 2**22
"""Characters of one text that are searched; what is longer says so."""
_HAZARDS = tuple(
    (kind, words.split(), re.compile(pattern))
    for kind, words, pattern in (
        ("Python code that is run", "eval( exec(",
         r"(?<![\w.])(?:eval|exec)\(\s*(?:[brfu]{0,2}[\"']|compile|open|base64|zlib|codecs|bytes"
         r"|chr\(|input|request|__)"),
        ("an import at run time", "__import__ import_module",
         r"__import__\s*\(|\bimportlib\.import_module\s*\("),
        ("a command of the system", "os. subprocess. pty.spawn shutil.rmtree",
         r"\bos\.(?:system|popen|exec\w+|spawn\w+|posix_spawn\w*|remove|unlink|rename)\s*\("
         r"|\bsubprocess\.\w+\s*\(|\bpty\.spawn\s*\(|\bshutil\.rmtree\s*\("),
        ("a loader of pickles", ".load",
         r"\b(?:c?[pP]ickle|dill|marshal|joblib)\.loads?\s*\("),
        ("a walk along Python's attributes", "__",
         r"__(?:globals|builtins|subclasses|class|mro|bases?|reduce|reduce_ex|getattribute)__"),
        ("an object for a configuration library to make", "_target_",
         r"[\"']_target_[\"']\s*:|(?m:^[ \t]*_target_[ \t]*:)"),
        ("an object for a YAML loader to make", "!!python/", "!!python/"),
        ("a script of a web page", "<script <iframe javascript: onerror",
         r"<script\b|<iframe\b|(?<![\w-])javascript:|\bonerror\s*="),
        ("a lookup of a logging library", "${jndi:", r"\$\{jndi:"),
        ("a shell command", "sh /dev/tcp/ cmd rm",
         r"\b(?:curl|wget)\s[^\n|]{0,300}\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b"
         r"|/bin/(?:ba|z)?sh\s+-[ci]|/dev/tcp/|\bpowershell(?:\.exe)?\s+-\w"
         r"|\bcmd(?:\.exe)?\s+/c\b|\brm\s+-rf\s+[/~]"),
        ("a socket", "socket. urllib.request. requests.",
         r"\bsocket\.(?:socket|create_connection)\s*\(|\burllib\.request\."
         r"|\brequests\.(?:get|post)\s*\("),
    )
)  # fmt: skip
"""What it is, words of which one must be there (a quick look), and what it looks like."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")


def hazard(text: str) -> tuple[str, str]:
    """What the text holds that could run, and the words of it; both empty where there is nothing."""
    if len(text) < 7 or text.isalnum():
        return "", ""
    for kind, words, pattern in _HAZARDS:
        match = pattern.search(text) if any(word in text for word in words) else None
        if match:
            return kind, show(match[0])
    return "", ""


def packed(text: str) -> bytes:
    """Bytes that a text holds as base64, where they begin as a pickle or an archive; else none."""
    if text[:2] not in ("gA", "UE", "H4", "QK", "eJ", "eN"):
        return b""
    text = "".join(text.split())
    if not _BASE64.fullmatch(text):
        return b""
    try:
        content = binascii.a2b_base64(text)
    except binascii.Error:
        return b""
    return content if content[:1] != b"\x80" or content[1:2] <= b"\x05" else b""


def code_rule(scanner: str) -> Rule:
    """The rule that a scanner reports code in texts by."""
    return Rule(
        f"{scanner}/code-in-metadata", "The metadata holds {subject}", Severity.MEDIUM,
        "Weights need no code. Strip the metadata, or do not show and do not evaluate it.",
    )  # fmt: skip


def review(reading: Reading, part: Part, scanner: str, name: str, text: str, at: int) -> None:
    """Report what a text named `name` at byte `at` holds that could run."""
    if len(text) > MOST:
        reason = f"{show(name)} has {len(text):,} characters, where {MOST:,} are searched"
        reading.report(part, rules.BUDGET, reason, at)
    kind, words = hazard(text[:MOST])
    if kind:
        reading.report(part, code_rule(scanner), f"{show(name)} holds {words}", at, kind)
    content = packed(text[:MOST])
    if content:
        reading.read(part.within(0, len(content), f"{show(name)} as base64", content))
