"""The tokens of a Jinja template, read without rendering it (the lexical rules of Jinja 3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.supply.pickle_values import Malformed

NAME, NUMBER, STRING, OPERATOR = "name", "number", "string", "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind, its text (of a string: what it stands for), its place."""

    kind: str
    text: str
    at: int

    def is_(self, *texts: str) -> bool:
        """Whether it is one of these words or operators, and no string of the same letters."""
        return self.kind != STRING and self.text in texts


@dataclass(frozen=True, slots=True)
class Block:
    """A run of text ("text"), an expression ("print") or a statement ("statement")."""

    kind: str
    at: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """The word that a statement begins with, "" for anything else."""
        first = self.tokens[0] if self.kind == "statement" and self.tokens else None
        return first.text if first and first.kind == NAME else ""


def words_of(text: str) -> frozenset[str]:
    """Words that spaces part."""
    return frozenset(text.split())


_OPEN = re.compile(r"\{[{%#]")
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<name>[^\W\d]\w*)|(?P<number>0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+"
    r"|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)"
    r"|(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<operator>//|\*\*|==|!=|<=|>=|[-+*/%~<>=.,:|()\[\]{};])",
    re.DOTALL,
)
_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_ESCAPE = re.compile(
    r"\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|(\n)|(.))", re.DOTALL
)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_PAIRS = {")": "(", "]": "[", "}": "{"}


def blocks(template: str) -> Iterator[Block]:
    """The template in pieces, in their order; comments are left out, as nobody is given them.

    Raises:
        Malformed: a block, a string or a bracket is not closed.
    """
    at = 0
    while at < len(template):
        match = _OPEN.search(template, at)
        if match is None:
            yield Block("text", at, template[at:])
            return
        if match.start() > at:
            yield Block("text", at, template[at : match.start()])
        if match[0] == "{#":
            at = template.find("#}", match.end()) + 2
            if at < 2:
                raise Malformed("a comment that does not end")
            continue
        block, at = _block(template, match)
        yield block
        if block.verb == "raw":
            end = _RAW.search(template, at)
            if end is None:
                raise Malformed("raw text that does not end")
            yield Block("text", at, template[at : end.start()])
            at = end.end()


def _block(template: str, opened: re.Match[str]) -> tuple[Block, int]:
    """An expression or a statement, and where it ends."""
    kind, close = ("print", "}}") if opened[0] == "{{" else ("statement", "%}")
    at = opened.end()
    at += template[at : at + 1] in ("-", "+") and template[at : at + 1] != ""
    tokens: list[Token] = []
    stack: list[str] = []
    while at < len(template):
        ends = template.startswith(close, at) or template.startswith(("-" + close, "+" + close), at)
        if ends and not stack:
            skip = 2 if template.startswith(close, at) else 3
            return Block(kind, opened.start(), tokens=tokens), at + skip
        match = _TOKEN.match(template, at)
        if match is None or match.lastgroup is None:
            raise Malformed(f"no token of a template at character {at}")
        if match.lastgroup != "space":
            text = unescaped(match[0][1:-1]) if match.lastgroup == STRING else match[0]
            tokens.append(Token(match.lastgroup, text, at))
            _balance(stack, tokens[-1])
        at = match.end()
    raise Malformed("a block that does not end")


def _balance(stack: list[str], token: Token) -> None:
    if token.is_("(", "[", "{"):
        stack.append(token.text)
    elif token.is_(*_PAIRS) and (not stack or stack.pop() != _PAIRS[token.text]):
        raise Malformed(f"a bracket that was not opened, at character {token.at}")


def unescaped(text: str) -> str:
    r"""What the inside of a string stands for: `\x5f` is an underscore."""

    def one(match: re.Match[str]) -> str:
        digits = match[1] or match[2] or match[3]
        if digits:
            code = int(digits, 16)
            return chr(code) if code < 0x110000 else match[0]
        if match[4]:
            return chr(int(match[4], 8))
        return "" if match[5] else _LETTERS.get(match[6], match[6])

    return _ESCAPE.sub(one, text) if "\\" in text else text
