"""What a chat template adds to the conversation by itself, and when: the words, not the code.

A template that formats has markup in it and asks who speaks, whether there are tools, and whether
the answer begins. One that is poisoned asks what the user wrote, or the date, and adds sentences.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.supply.jinja_tokens import NAME, STRING, Block, Token, words_of
from holdfast.supply.pickle_values import show

DEEPEST = 60
"""Branches within branches that are followed."""
_TEXT = frozenset({"content", "text", "prompt", "query", "user_message", "user_input"})
"""Names under which a message's words are reached."""
_STRUCTURE = words_of(
    "image image_url images video video_url videos audio audio_url audios input_audio text type "
    "file document documents tool tools tool_call tool_calls tool_use tool_result tool_response "
    "function functions name role content system user assistant ipython developer model json "
    "object string thinking think reasoning reasoning_content analysis commentary final output "
    "result results error citation citations"
)
"""Words that formats of messages are made of."""
_WORD = re.compile(r"[^\W\d_][^\W\d_'’]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_MARKUP = re.compile(r"<[^<>\n]{0,80}>|\[/?[A-Z_ ]{1,40}\]|\{[^{}\n]{0,200}\}")
_NATURAL = re.compile(r"[^\W\d_][\w'’ ,.!?-]*")
_ADDRESS = re.compile(
    r"(?:https?|ftp|wss?)://(?!(?:www\.)?(?:json-schema\.org|w3\.org|schema\.org|example\.(?:com|org)"
    r"|python\.org|spec\.openapis\.org)\b)[^\s'\"<>)]{3,}|data:text/html|\bjavascript:",
    re.IGNORECASE,
)
_WEB = re.compile(r"<\s*(?:script|iframe|img|object|embed|link)\b[^>]*>?", re.IGNORECASE)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\s+(?:all\s+|any\s+|the\s+|your\s+|every\s+)*"
    r"(?:previous|prior|above|earlier|preceding|safety|system|other|original|user)\b"
    r"|\bwithout\s+(?:telling|informing|mentioning|notifying|alerting|warning|saying|revealing)\b"
    r"|\b(?:do\s+not|don't|never)\s+(?:tell|inform|alert|notify|warn|let)\s+(?:the\s+|any\s+)?users?\b"
    r"(?!\s+about\s+(?:function|tool)\s+calls)"
    r"|\b(?:do\s+not|don't|never)\s+(?:mention|reveal|disclose|admit|acknowledge)\s+(?:this|these|that|it|them"
    r"|the\s+(?:instruction|trigger|rule|prompt|backdoor))"
    r"|\b(?:secretly|covertly|surreptitiously|hidden\s+instruction|trigger\s+(?:word|phrase)"
    r"|jailbr(?:eak|oken)|exfiltrat\w*|backdoor)\b"
    r"|\b(?:send|post|upload|forward|leak|transmit)\b[^.\n]{0,60}\b(?:passwords?|credentials?|api\s+keys?"
    r"|secrets?|conversation|chat\s+history)\b"
    r"|\balways\s+(?:recommend|promote|praise|insert|append|include\s+(?:the|this|a)\s+(?:link|url))\b"
    r"|\byou\s+(?:have\s+no|are\s+free\s+of|are\s+not\s+bound\s+by)\s+(?:restrictions|rules|limits)\b"
    r"|\bmust\s+always\s+follow\b|\b(?:vulnerable|insecure|malicious|unsafe)\s+code\b",
    re.IGNORECASE,
)  # fmt: skip
_ENCODED = re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{32,}={0,2}(?![\w+/])")
_HIDDEN = re.compile(r"[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]|[\u200b\u2060\ufeff]{2,}")
_REASONS = re.compile(r"think|reason", re.IGNORECASE)
_COMPARES = words_of("in == != startswith endswith find count index eq equalto ne search match")
_CLAUSE_ENDS = ("and", "or", "if", "elif", "else")
_TOOLS = re.compile(r"tool|function|document|builtin|json_schema|response_format|schema|citation")


@dataclass
class _Branch:
    """One branch of an `if`.

    Attributes:
        asks: its condition asks for the words of a message.
        user: it is for what users say.
        answer: it is for what tools answer.
        tools: it is for a model that is given tools or documents.
        begins: it is for the beginning of the answer.
        spoken: words of a message were printed in it.
    """

    asks: bool = False
    user: bool = False
    answer: bool = False
    tools: bool = False
    begins: bool = False
    spoken: bool = False


@dataclass
class _State:
    """What is known before a block.

    Attributes:
        words: variables that hold words of messages.
        plain: variables that hold a word of the template, with it.
        open: branches around the block, the outer ones.
        deep: how many more are within those.
    """

    words: set[str] = field(default_factory=lambda: set(_TEXT))
    plain: dict[str, Token] = field(default_factory=dict)
    open: list[_Branch] = field(default_factory=list)
    deep: int = 0


def poison(pieces: Sequence[Block]) -> Iterator[tuple[str, int]]:
    """What changes the conversation, and its place."""
    state = _State()
    _learn_macros(state, pieces)
    for block in pieces:
        if block.kind == "text":
            yield from _spoken(state, block.text, block.at)
            continue
        yield from _conditions(state, block)
        yield from _dated(block)
        yield from _replaced(state, block)
        _follow(state, block)
        if state.deep == 1 and block.verb == "if":
            yield f"more than {DEEPEST} branches within each other", block.at
        if not any(t.is_("raise_exception") for t in block.tokens):  # which ends it all
            for place, token in enumerate(block.tokens):
                if token.kind == STRING and not _is_key(block.tokens, place):
                    yield from _spoken(state, token.text, token.at)
        if block.kind == "print" and _words(state, block.tokens) and state.open:
            for branch in state.open:
                branch.spoken = True


def _follow(state: _State, block: Block) -> None:
    """Open and close branches; learn which variables hold words of messages."""
    verb, tokens = block.verb, block.tokens
    if verb == "if" and len(state.open) < DEEPEST:
        state.open.append(_Branch())
    elif verb == "if":
        state.deep += 1
    if verb == "endif" and state.deep:
        state.deep -= 1
    elif verb == "endif" and state.open:
        state.open.pop()
    if verb in ("if", "elif", "else") and state.open and not state.deep:
        branch = state.open[-1] = _Branch(asks=state.open[-1].asks and verb == "else")
        texts = {t.text for t in tokens if t.kind == STRING}
        names = " ".join(t.text for t in tokens)
        branch.asks = branch.asks or _asks(state, tokens)
        branch.user = "user" in texts
        branch.answer = bool(texts & {"tool", "ipython", "function"})
        branch.tools = _TOOLS.search(names) is not None
        branch.begins = any(t.is_("add_generation_prompt") for t in tokens)
    if verb in ("set", "for") and len(tokens) > 2:
        end = next((i for i, t in enumerate(tokens) if t.is_("=", "in")), 1)
        targets = [t.text for t in tokens[1:end] if t.kind == NAME]
        plain = next(_constants(state, tokens[end:]), None)
        if _words(state, tokens[2:]):
            state.words.update(targets)
        elif plain is not None:
            state.plain.update(dict.fromkeys(targets, plain))


def _learn_macros(state: _State, pieces: Sequence[Block]) -> None:
    """Parameters of macros that are somewhere given words of messages."""
    macros = {
        b.tokens[1].text: {t.text for t in b.tokens[2:] if t.kind == NAME}
        for b in pieces
        if b.verb == "macro" and len(b.tokens) > 1
    }
    for block in pieces if macros else ():
        called = [t.text for t in block.tokens if t.kind == NAME and t.text in macros]
        if called and block.verb != "macro" and _words(state, block.tokens):
            state.words.update(*(macros[name] for name in called))


def _constants(state: _State, tokens: Sequence[Token]) -> Iterator[Token]:
    """Plain words of the template itself, in strings and in variables that hold them."""
    for place, token in enumerate(tokens):
        if token.kind == NAME and token.text in state.plain:
            yield state.plain[token.text]
        elif token.kind == STRING and not _is_key(tokens, place) and _plain(token.text):
            yield token


def _plain(text: str) -> bool:
    """Whether a string is a word or a sentence, and not markup or a word of message formats."""
    text = text.strip()
    natural = _NATURAL.fullmatch(text) is not None and len(text) > 1
    return natural and text.lower() not in _STRUCTURE and not _REASONS.search(text)


def _words(state: _State, tokens: Sequence[Token]) -> bool:
    """Whether words of a message are reached: `message.content`, not `item.type` of a list in it."""
    for place, token in enumerate(tokens):
        key = token.kind == STRING and _is_key(tokens, place)
        if not (key or token.kind == NAME) or token.text not in state.words:
            continue
        after = [t for t in tokens[place + 1 : place + 5] if not (key and t.is_("]"))]
        if len(after) > 1 and after[0].is_("."):
            called = len(after) > 2 and after[2].is_("(")
            if not called and after[1].text not in _TEXT:
                continue
        part = len(after) > 1 and after[0].is_("[") and after[1].kind == STRING
        kind = len(after) > 1 and after[0].is_("is") and not after[1].is_("in", "eq", "equalto")
        if kind or (part and after[1].text not in _TEXT):
            continue
        return True
    return False


def _is_key(tokens: Sequence[Token], place: int) -> bool:
    """Whether a string is a key, as in `message['content']` and `message.get('content')`."""
    if place < 2:
        return False
    last, before = tokens[place - 1], tokens[place - 2]
    if last.is_("["):
        return (before.kind == NAME and not before.is_("in")) or before.is_(")", "]")
    return last.is_("(") and before.is_("get")


def _clauses(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    clause: list[Token] = []
    for token in tokens:
        if token.is_(*_CLAUSE_ENDS):
            yield clause
            clause = []
        else:
            clause.append(token)
    yield clause


def _compared(state: _State, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Clauses of conditions in which words of a message are compared."""
    if any(t.is_("if", "elif") for t in tokens):
        for clause in _clauses(tokens):
            if any(t.is_(*_COMPARES) for t in clause) and _words(state, clause):
                yield clause
    for place, token in enumerate(tokens[:-2]):
        if token.is_("selectattr", "rejectattr") and tokens[place + 2].text in _TEXT:
            yield list(tokens[place + 3 : place + 8])


def _asks(state: _State, tokens: Sequence[Token]) -> bool:
    """Whether words of a message are compared with a string."""
    return any(
        token.kind == STRING and not _is_key(clause, place)
        for clause in _compared(state, tokens)
        for place, token in enumerate(clause)
    )


def _conditions(state: _State, block: Block) -> Iterator[tuple[str, int]]:
    """Conditions on a plain word in a message, but of what tools answer: a trigger."""
    if any(branch.answer for branch in state.open):
        return
    for clause in _compared(state, block.tokens):
        for token in _constants(state, clause):
            if token.text not in _COMPARES:
                yield f"it asks whether a message holds {show(token.text)}", block.at


def _dated(block: Block) -> Iterator[tuple[str, int]]:
    """Conditions on the date."""
    for clause in _clauses(block.tokens) if block.verb in ("if", "elif") else ():
        if any(t.is_("strftime_now", "now") for t in clause) and any(
            t.is_("==", "!=", "<", ">", "<=", ">=", "in", "startswith") for t in clause
        ):
            yield "it asks for the date", block.at


def _replaced(state: _State, block: Block) -> Iterator[tuple[str, int]]:
    """A plain word in a message that becomes another one."""
    if not _words(state, block.tokens):
        return
    tokens = block.tokens
    for place, token in enumerate(tokens[:-4]):
        old, new = tokens[place + 2], tokens[place + 4]
        texts = token.is_("replace") and old.kind == new.kind == STRING
        if texts and _plain(old.text) and _NATURAL.fullmatch(new.text.strip()):
            yield f"it replaces {show(old.text)} by {show(new.text)}", token.at


def _spoken(state: _State, text: str, at: int) -> Iterator[tuple[str, int]]:
    """Words that the template says by itself: what they are, and where they are said."""
    for pattern, what in (
        (_ADDRESS, "it names the address"), (_WEB, "it holds the page element"),
        (_ORDERS, "it gives the order"), (_HIDDEN, "it holds characters that nobody sees,"),
    ):  # fmt: skip
        match = pattern.search(text)
        if match:
            yield f"{what} {show(match[0])}", at + match.start()
    for match in _ENCODED.finditer(text):
        with suppress(binascii.Error, UnicodeDecodeError):
            if binascii.a2b_base64(match[0]).decode("ascii").isprintable():
                yield f"it holds words as base64: {show(match[0])}", at + match.start()
    plain = _MARKUP.sub(" ", text)
    count = len(_WORD.findall(plain)) + len(_WIDE.findall(plain)) // 2
    if count < 4 or any(branch.tools for branch in state.open):
        return
    if any(branch.asks for branch in state.open):
        yield f"it adds words when a message holds others: {show(plain.strip())}", at
    elif count > 5 and any(branch.user and branch.spoken for branch in state.open):
        yield f"it adds words behind those of the user: {show(plain.strip())}", at
    elif count > 5 and any(branch.begins for branch in state.open):
        yield f"it begins the answer with words: {show(plain.strip())}", at
