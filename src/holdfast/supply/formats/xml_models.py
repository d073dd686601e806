"""Models written as XML: PMML, and the graphs of OpenVINO. Entities are refused, not expanded.

XML can make its reader open files and addresses, and grow without end. PMML can name functions of
the program that runs it; OpenVINO's layers can be those of an extension library.
"""

import re
from math import prod
from typing import NoReturn
from xml.parsers import expat

from holdfast.core.record import Severity
from holdfast.supply import texts
from holdfast.supply.pickle_values import Exhausted, Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

LONGEST = 2**26
"""Bytes of a document that are read."""
MOST = 1_000_000
"""Elements of a document that are read."""
DEEPEST = 400
_SOURCE = "Get the file again from its source, or export the model anew."
ENTITY = Rule(
    "archive_scan/xml-entity", "The XML makes its reader fetch or multiply: {subject}",
    Severity.HIGH, "Do not read it with a parser that resolves entities. " + _SOURCE,
    refs=("CWE-611", "CWE-776"),
)  # fmt: skip
INCLUDE = Rule(
    "archive_scan/xml-include", "The XML takes in other files: {subject}", Severity.HIGH,
    "Do not read it with a parser that follows it. " + _SOURCE, refs=("CWE-98",),
)  # fmt: skip
DAMAGED = Rule(
    "archive_scan/xml-malformed", "The XML is malformed: {reason}", Severity.HIGH, _SOURCE,
    Verdict.MALFORMED,
)  # fmt: skip
CODE = Rule(
    "archive_scan/xml-code", "The model brings or names code: {subject}", Severity.HIGH,
    "Do not load it. Ask for a model of the format's own elements.",
)  # fmt: skip
CUSTOM = Rule(
    "archive_scan/xml-custom", "The model needs code of another library: {subject}",
    Severity.MEDIUM, "Review the library that brings it, or refuse the model.", Verdict.UNREAD,
)  # fmt: skip
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!|net\b|PMML\b|CustomLayer)")
_SURE = re.compile(rb"<(?:\?xml|PMML|net) ")
_WIDE = (b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0?\0", b"\0<\0?")
_ROOTS = {"net": "openvino", "PMML": "pmml", "CustomLayer": "openvino layer"}
_LIBRARY = re.compile(r"[^\s]*\.(?:so(?:\.\d+)*|dll|dylib|jar|class|py|cl)\b")
_JAVA = re.compile(r"(?:java|javax|sun|jdk|org\.python|groovy|javascript)\b[.:]")
_SCRIPTS = frozenset({"script", "x-script", "javascript", "python", "groovy", "jython", "code"})
_SIZES = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u64": 8,
          "u32": 4, "u16": 2, "u8": 1, "boolean": 1}  # fmt: skip
_FUNCTIONS = re.compile(r"[-+*/]|x-[\w-]+|[A-Za-z]\w*")


class _Refused(Exception):
    """Something for which the document is not read further."""


def claims(part: Part) -> bool:
    """The beginning of XML."""
    return _START.match(part.head(256)) is not None or part.head(4) in _WIDE


def read(reading: Reading, part: Part) -> bool:
    """The whole document; false where it is XML of another kind, or none."""
    document = _Document(reading, part)
    try:
        document.parse()
    except _Refused:
        pass
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two of its encoding
        if not document.format and not _SURE.search(part.head(256).replace(b"\0", b"")):
            return False
        document.refused = True
        reading.report(part, DAMAGED, show(str(error), 90))
    except Malformed as error:
        reading.report(part, DAMAGED, str(error), document.at)
    if not document.format and not document.refused:
        return False
    reading.took(part, document.format or "xml")
    return True


class _Document:
    """What is known of a document while it is read.

    Attributes:
        format: which of the formats its first element is of, "" before that.
        refused: whether something ended the reading.
    """

    def __init__(self, reading: Reading, part: Part) -> None:
        self.reading, self.part = reading, part
        self.format, self.refused = "", False
        self.version, self.depth, self.count = 0, 0, 0
        self.told: set[str] = set()
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text, parser.buffer_size = True, 2**16
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self.doctype
        parser.EntityDeclHandler = self.entity
        parser.StartElementHandler = self.begin
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.words
        parser.ProcessingInstructionHandler = self.instruction

    @property
    def at(self) -> int:
        """The current place."""
        return self.part.start + max(self.parser.CurrentByteIndex, 0)

    def parse(self) -> None:
        """Read everything.

        Raises:
            Exhausted: the document is longer than is read.
        """
        if len(self.part) > LONGEST:
            raise Exhausted(f"XML of {len(self.part):,} bytes")
        begin, size = self.part.start, 2**20
        while begin < self.part.end:
            # each piece is as long as all before it, so that a long token is not read too often
            end = min(begin + size, self.part.end)
            self.parser.Parse(bytes(self.part.data[begin:end]), end == self.part.end)
            begin, size = end, end - self.part.start

    def tell(self, rule: Rule, reason: str, subject: str) -> None:
        """Report one thing once."""
        if rule.id + subject not in self.told:
            self.told.add(rule.id + subject)
            self.reading.report(self.part, rule, reason, self.at, subject)

    def refuse(self, rule: Rule, reason: str, subject: str) -> NoReturn:
        """Report, and read no further: what follows depends on it."""
        self.refused = True
        self.tell(rule, reason, subject)
        raise _Refused

    def doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        """The type of the document, which can lie elsewhere."""
        if (system or public) and name in _ROOTS:
            self.refuse(ENTITY, "a document type that lies elsewhere", show(system or public))

    def entity(
        self, name: str, parameter: bool, value: str | None, base: str | None,
        system: str | None, public: str | None, notation: str | None,
    ) -> None:  # fmt: skip
        """An entity: text that is put in wherever it is named, perhaps from a file or an address."""
        where = f"the entity {show(name)}" + (f" from {show(system)}" if system else "")
        self.refuse(ENTITY, "an entity is declared", where)

    def instruction(self, target: str, data: str) -> None:
        """A note to the program that reads the document."""
        if "stylesheet" in target:
            self.tell(INCLUDE, "a style sheet", show(data))

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """One element."""
        self.count += 1
        self.depth += 1
        if self.count > MOST:
            raise Exhausted(f"XML of more than {MOST:,} elements")
        if self.depth > DEEPEST:
            raise Exhausted("elements too deep within elements")
        plain = name.rpartition(":")[2]
        if self.count == 1:
            self.format = _ROOTS.get(plain, "")
            if not self.format:
                raise _Refused
            version = attributes.get("version", "")
            self.version = int(version) if re.fullmatch(r"\d{1,4}", version) else 0
        if plain == "include" and "href" in attributes:
            self.tell(INCLUDE, "an inclusion", show(attributes["href"]))
        for key, text in attributes.items():
            texts.review(self.reading, self.part, "archive_scan", key, text, self.at)
        if self.format == "pmml":
            self.pmml(plain, attributes)
        else:
            self.openvino(plain, attributes)

    def end(self, name: str) -> None:
        """The end of an element."""
        self.depth -= 1

    def words(self, text: str) -> None:
        """Text between elements."""
        if not text.isspace():
            texts.review(self.reading, self.part, "archive_scan", "its text", text, self.at)

    def pmml(self, name: str, attributes: dict[str, str]) -> None:
        """Functions by name, and scripts in extensions."""
        function = attributes.get("function", "") if name in ("Apply", "Aggregate") else ""
        if name.lower() in _SCRIPTS or _JAVA.match(function):
            self.tell(
                CODE, "an element of a script or a function of the machine", show(function or name)
            )
        elif function and not _FUNCTIONS.fullmatch(function):
            self.tell(CUSTOM, "a function by the name of a class", show(function))
        elif name == "Extension" and _LIBRARY.fullmatch(attributes.get("value", "")):
            self.tell(CODE, "an extension that names a library", show(attributes["value"]))

    def openvino(self, name: str, attributes: dict[str, str]) -> None:
        """Layers of extensions, kernels, libraries, and places of weights."""
        for key, text in attributes.items():
            if _LIBRARY.fullmatch(text) and key != "name":
                self.tell(CODE, f"the attribute {show(key)} names a library", show(text))
        if name in ("CustomLayer", "Kernel", "Source"):
            self.tell(CODE, "a kernel that the driver compiles", show(attributes.get("name", name)))
        elif name == "layer" and self.version >= 10:
            version = attributes.get("version", "")
            if not re.fullmatch(r"opset\d{1,3}", version):
                what = f"{show(attributes.get('type', ''))} of {show(version) or 'no set'}"
                self.tell(CUSTOM, "a layer of no operator set", what)
        elif name == "data" and "offset" in attributes:
            self.weights(attributes)

    def weights(self, told: dict[str, str]) -> None:
        """Where a constant lies in the file of weights, against its shape."""
        numbers = [
            told.get("offset", ""),
            told.get("size", "0"),
            *re.split(r",\s*", told.get("shape", "")),
        ]
        if not all(re.fullmatch(r"\d{1,18}", n) for n in numbers if n):
            raise Malformed(f"weights at {show(', '.join(numbers))}")
        size, shape = int(numbers[1]), [int(n) for n in numbers[2:] if n]
        item = _SIZES.get(told.get("element_type", ""))
        if int(numbers[0] or 0) + size >= 2**48 or (
            item and "shape" in told and prod(shape) * item != size
        ):
            raise Malformed(f"weights of {size:,} bytes for another shape")
