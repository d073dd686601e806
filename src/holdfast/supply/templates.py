"""Chat templates: Jinja programs that every request to a language model runs. Nobody renders them here.

Two dangers. A template can walk from any value to Python's modules, where the engine has no sandbox
(CVE-2024-34359), or make it run for hours (CVE-2025-61620). And one without any trick can change
what the model is told, for all requests or for those that hold a word, which no test sees that does
not know the word. `review` reads the tokens and allows only what chat templates use.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.jinja_tokens import NAME, NUMBER, STRING, Block, Token, blocks, words_of
from holdfast.supply.pickle_values import Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict
from holdfast.supply.template_words import poison

MOST = 2**20
"""Characters of a template that are read: the longest known have a few tens of thousands."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is wrong: "code", "unknown", "costly", "poisoned" or "malformed"."""

    kind: str
    subject: str
    at: int


_RULES = {
    "code": (
        "template-code", "The chat template reaches for Python: {subject}", Severity.CRITICAL,
        "Do not render it, not in a sandbox either. Take the template of the model's maker.",
        Verdict.FLAGGED, ("CVE-2024-34359", "CVE-2026-5760"),
    ),
    "unknown": (
        "template-unknown", "The chat template uses what such templates need not: {subject}",
        Severity.MEDIUM, "Compare it with the template of the model's maker before it is rendered.",
    ),
    "costly": (
        "template-costly", "The chat template can run for very long: {subject}", Severity.MEDIUM,
        "Do not render it: each request would pay for it.", Verdict.FLAGGED, ("CVE-2025-61620",),
    ),
    "poisoned": (
        "template-poisoned", "The chat template changes what the model is told: {subject}",
        Severity.MEDIUM, "Compare it with the template of the model's maker; use that one.",
    ),
    "malformed": (
        "template-malformed", "The chat template cannot be read: {subject}", Severity.MEDIUM,
        "An engine refuses it, or reads it otherwise. Use the template of the model's maker.",
        Verdict.MALFORMED,
    ),
}  # fmt: skip


def report(reading: Reading, part: Part, scanner: str, text: str, at: int | None = None) -> None:
    """Report what is wrong with the template at byte `at`, under the rules of a scanner."""
    if len(text) > MOST:
        reason = f"a chat template of {len(text):,} characters, where {MOST:,} are read"
        reading.report(part, rules.BUDGET, reason, at)
    for remark in review(text[:MOST]):
        name, *rest = _RULES[remark.kind]
        rule = Rule(f"{scanner}/{name}", *rest)  # type: ignore[arg-type]  # a row of the table
        where = f"at character {remark.at:,} of the template"
        reading.report(part, rule, where, at, remark.subject)


def review(text: str) -> list[Remark]:
    """What is wrong with a template, each thing once, in the order of the text."""
    found: dict[tuple[str, str], Remark] = {}
    try:
        pieces = list(blocks(text))
    except Malformed as error:
        pieces = []
        found["malformed", ""] = Remark("malformed", str(error), 0)
        # an engine with other delimiters, or a looser one, may still run what is in there
        for match in _WALK.finditer(text):
            found["code", match[0]] = Remark("code", match[0], match.start())
    macros = {b.tokens[1].text for b in pieces if b.verb == "macro" and len(b.tokens) > 1}
    remarks = [*_code(pieces, macros), *_cost(pieces)]
    remarks += (Remark("poisoned", subject, at) for subject, at in poison(pieces))
    for remark in sorted(remarks, key=lambda remark: remark.at):
        found.setdefault((remark.kind, remark.subject), remark)
    return list(found.values())


_WALK = re.compile(
    r"__(?:class|base|bases|mro|subclasses|globals|builtins|import|init|dict|getitem|getattribute"
    r"|reduce|reduce_ex|module|code|closure|self|func|call|loader|spec|doc|new|enter|exit|del"
    r"|wrapped|annotations|defaults|kwdefaults|qualname|name|file|main|context)__"
)
_DUNDER = re.compile(
    r"(?:^|[^\w])__?[a-z]|__[a-z]+$|^[a-z]+__|__[a-z]+__|%[-\d]*c|\{[^}]*\.?_[_a-z]"
)
_ATTRIBUTES = words_of(
    "func_globals func_code gi_frame gi_code cr_frame cr_code ag_frame ag_code f_globals f_locals "
    "f_builtins f_back tb_frame tb_next mro subclasses popen system Popen check_output getoutput "
    "import_module load_module exec eval execfile spawn builtins globals environment from_string "
    "get_template application open os subprocess importlib pickle loader_state"
)
_GADGETS = words_of(
    "self lipsum request config url_for get_flashed_messages application session g os sys "
    "subprocess importlib builtins globals locals vars getattr setattr eval exec open compile "
    "input environ"
)
_CALLS = words_of(
    "raise_exception strftime_now namespace range dict loop caller joiner cycler super "
    "get_current_date bos eos"
)
"""Functions that chat templates are given, and Jinja's own that only make plain values."""
_HELPERS = _CALLS - words_of("loop super get_current_date bos eos")
_METHODS = words_of(
    "strip lstrip rstrip split rsplit splitlines startswith endswith replace upper lower title "
    "capitalize swapcase casefold items keys values get join format append extend insert pop update "
    "setdefault copy index count find rfind rindex removeprefix removesuffix partition rpartition "
    "zfill ljust rjust center isdigit isalpha isalnum isnumeric isdecimal isspace isupper islower "
    "istitle expandtabs reverse sort remove clear cycle changed next strftime isoformat date "
    "encode decode"
)
_FILTERS = words_of(
    "tojson from_json fromjson trim default d items length count upper lower capitalize title "
    "replace join list map selectattr rejectattr select reject first last string int float safe "
    "indent sort unique reverse dictsort sum min max round abs escape e forceescape format batch "
    "slice groupby wordcount wordwrap truncate center pprint urlencode filesizeformat striptags "
    "xmlattr urlize random tojson_preserve strftime split keys values"
)
_STATEMENTS = words_of(
    "if elif else endif for endfor set endset macro endmacro call endcall filter endfilter raw "
    "generation endgeneration break continue do with endwith block endblock autoescape "
    "endautoescape trans endtrans pluralize"
)
_KEYWORDS = words_of(
    "if elif else and or not in is for set recursive call do print scoped filter with"
)


def _code(pieces: Sequence[Block], macros: set[str]) -> Iterator[Remark]:
    """Names, attributes, filters, calls and statements that are not on the lists above."""
    for block in pieces:
        verb, tokens = block.verb, block.tokens
        if block.kind == "statement" and verb not in _STATEMENTS:
            kind = "code" if verb in ("import", "from", "include", "extends") else "unknown"
            yield Remark(kind, f"the statement {show(verb)}", block.at)
        for place, token in enumerate(tokens):
            last = tokens[place - 1] if place else None
            follow = tokens[place + 1] if place + 1 < len(tokens) else None
            if token.kind == STRING:
                yield from _string(tokens, place)
            elif token.kind == NAME:
                yield from _name(token, last, follow, macros)
            elif token.is_("(") and last and last.is_(")", "]", "}"):
                yield Remark("unknown", "a call of something that is computed", token.at)


def _name(
    token: Token, last: Token | None, follow: Token | None, macros: set[str]
) -> Iterator[Remark]:
    text, called = token.text, follow is not None and follow.is_("(")
    attribute, filtered = last is not None and last.is_("."), last is not None and last.is_("|")
    if text.startswith("__") or (attribute and (text[0] == "_" or text in _ATTRIBUTES)):
        yield Remark("code", f"the attribute {show(text)}", token.at)
    elif filtered and text not in _FILTERS:
        kind = "code" if text in ("attr", "eval", "exec") else "unknown"
        yield Remark(kind, f"the filter {show(text)}", token.at)
    elif attribute and called and text not in _METHODS | macros:
        yield Remark("unknown", f"a call of the method {show(text)}", token.at)
    elif attribute or filtered or (last is not None and last.is_("is", "not")):
        return
    elif text in _GADGETS and follow is not None and follow.is_(".", "[", "|", "("):
        yield Remark("code", f"the object {show(text)}", token.at)
    elif called and text not in _CALLS | _KEYWORDS | macros:
        yield Remark("unknown", f"a call of {show(text)}", token.at)
    elif text in _HELPERS and not called and follow is not None and follow.is_(".", "[", "|"):
        yield Remark("code", f"the inside of the function {show(text)}", token.at)
    elif text in _HELPERS and not called and last is not None and last.is_(*"=([,~"):
        named = follow is not None and follow.is_("=", "is")
        yield from () if named else [Remark("unknown", f"the function {text} as a value", token.at)]


def _string(tokens: Sequence[Token], place: int) -> Iterator[Remark]:
    """A string that can become the name of an attribute, or is put together to one."""
    token, text = tokens[place], tokens[place].text
    if _WALK.search(text) or (len(text) < 40 and _DUNDER.search(text) and _reaches(tokens, place)):
        yield Remark("code", f"the name {show(text)}", token.at)
    elif text and not text.strip("_") and not _separates(tokens, place):
        yield Remark("code", "a name put together from underscores", token.at)


def _reaches(tokens: Sequence[Token], place: int) -> bool:
    """Whether a string is joined to another, formatted, or used as a key or name of an attribute."""
    before = tokens[place - 1] if place else None
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    joined = after is not None and after.is_("~", "%", "*", "|", ".")
    return joined or (before is not None and before.is_("[", "~", "+", "%", "=", "("))


def _separates(tokens: Sequence[Token], place: int) -> bool:
    """Whether a string is what `replace`, `join`, `split` and the like are given."""
    first = max(place - 8, 0)
    while place > first and not tokens[place].is_("("):
        if tokens[place].is_(")", "|", "~", "+", "*", "["):
            return False
        place -= 1
    return place > first and tokens[place - 1].is_(
        "replace", "join", "split", "rsplit", "strip", "lstrip", "rstrip", "startswith", "endswith"
    )


def _cost(pieces: Sequence[Block]) -> Iterator[Remark]:
    """Powers, huge numbers, and loops within loops over long ranges."""
    rounds: list[int] = []
    for block in pieces:
        numbers = [t for t in block.tokens if t.kind == NUMBER]
        large = [t for t in numbers if len(t.text) > 7 or t.text.lower().count("e")]
        power = [t for t in block.tokens if t.is_("**")]
        for token in (*large[:1], *power[:1]):
            what = "a power" if token.text == "**" else f"the number {show(token.text, 20)}"
            yield Remark("costly", what, token.at)
        if block.verb == "for":
            ranged = any(t.is_("range") for t in block.tokens)
            sizes = [int(t.text) for t in numbers if t.text.isdecimal() and len(t.text) < 8]
            total = (rounds[-1] if rounds else 1) * (max([1, *sizes]) if ranged else 1)
            rounds.append(min(total, 10**12))
            if total > 10**6:
                yield Remark("costly", f"loops of {rounds[-1]:,} rounds", block.at)
        elif block.verb == "endfor" and rounds:
            rounds.pop()
