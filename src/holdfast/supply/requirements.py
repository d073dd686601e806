"""Requirements files and environments: what is pinned, where it is from, how it is called."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from holdfast.core.errors import InputError
from holdfast.core.record import Severity
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import Rule

_PIN = "Pin it to one version (name==1.2.3), best with --hash, and update on purpose."
INDEX = Rule(
    "dependency_audit/extra-index", "A second index is asked for: {subject}", Severity.HIGH,
    "Whoever registers a name of yours on the other index is installed. Use one index that mirrors.",
    refs=("AML.T0010.001",),
)  # fmt: skip
PLAIN_HTTP = Rule(
    "dependency_audit/insecure-index", "An index or host is not protected: {subject}",
    Severity.HIGH, "Use https, and no --trusted-host.",
)  # fmt: skip
DIRECT = Rule(
    "dependency_audit/direct-url", "A package comes from an address: {subject}", Severity.MEDIUM,
    "Take it from an index, or pin the file by its hash: nobody checks what lies at an address.",
)  # fmt: skip
MOVING = Rule(
    "dependency_audit/vcs", "A package comes from a repository: {subject}", Severity.MEDIUM,
    "Pin the commit with all 40 digits: branches and tags move.",
)  # fmt: skip
UNPINNED = Rule(
    "dependency_audit/unpinned", "{subject} is not pinned", Severity.LOW, _PIN,
)  # fmt: skip
NAME = Rule(
    "dependency_audit/name", "{subject} is nearly the name of a known package", Severity.HIGH,
    "Check who publishes it: names like these are how malicious packages get installed.",
    refs=("AML.T0010.001",),
)  # fmt: skip
BROKEN = Rule(
    "dependency_audit/unread", "A line was not understood: {subject}", Severity.MEDIUM,
    "Write it as pip documents it; nothing is known about what it installs.",
)  # fmt: skip
LARGEST, DEEPEST = 2**20, 4
KNOWN = frozenset(
    [
        "torch",
        "torchvision",
        "torchaudio",
        "tensorflow",
        "keras",
        "transformers",
        "numpy",
        "scipy",
        "pandas",
        "scikit-learn",
        "xgboost",
        "lightgbm",
        "catboost",
        "onnx",
        "onnxruntime",
        "safetensors",
        "huggingface-hub",
        "datasets",
        "tokenizers",
        "diffusers",
        "accelerate",
        "peft",
        "sentence-transformers",
        "jax",
        "jaxlib",
        "flax",
        "opencv-python",
        "pillow",
        "matplotlib",
        "joblib",
        "skops",
        "mlflow",
        "ray",
        "fastapi",
        "pydantic",
        "requests",
        "urllib3",
        "langchain",
        "openai",
        "anthropic",
        "gradio",
        "streamlit",
        "timm",
        "lightning",
        "pytorch-lightning",
        "spacy",
        "nltk",
        "sympy",
        "networkx",
        "h5py",
        "protobuf",
        "pyyaml",
        "tqdm",
        "wandb",
        "ultralytics",
        "vllm",
        "bitsandbytes",
        "deepspeed",
        "einops",
    ]
)
"""Packages of models, which a wrong letter is meant to be taken for."""
FINE = frozenset(["torchx", "torchao", "jaxtyping"])
CONFUSED = {
    "pytorch": "torch", "sklearn": "scikit-learn", "opencv": "opencv-python", "pil": "pillow",
    "tensorflow-gpu": "tensorflow", "huggingface": "huggingface-hub", "yaml": "pyyaml",
    "python-opencv": "opencv-python", "torch-vision": "torchvision", "hugging-face": "huggingface-hub",
}  # fmt: skip
"""Names of projects that are not the names of their packages."""


@dataclass(frozen=True)
class Package:
    """One package that is, or may be, installed.

    Attributes:
        name: normalised.
        version: None where several would do.
        line: of the requirements file; 0 of an environment.
        file: name of the requirements file, "" of an environment.
        specifier: as written, "" for any.
    """

    name: str
    version: str | None
    line: int = 0
    specifier: str = ""
    file: str = ""


@dataclass(frozen=True)
class Doubt:
    """Something odd about how a package is asked for."""

    rule: Rule
    subject: str
    reason: str
    line: int = 0
    file: str = ""


@dataclass(frozen=True)
class Listing:
    """All packages of a requirements file or an environment, and what is odd about them."""

    packages: tuple[Package, ...]
    doubts: tuple[Doubt, ...]


def environment(paths: list[str] | None = None) -> Listing:
    """What is installed: here, or in the `site-packages` folders given. Nothing is imported."""
    found = distributions(path=paths) if paths else distributions()
    pairs = {(str(canonicalize_name(d.name)), d.version) for d in found if d.name}
    packages = tuple(Package(name, version) for name, version in sorted(pairs))
    return Listing(packages, tuple(d for p in packages for d in _named(p.name, 0)))


def read(path: Path, depth: int = 0) -> Listing:
    """A requirements file and those that it includes, which lie beside or below it.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InputError("a requirements file", got="more than 1 MiB", fix="give another file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "a requirements file to read", got=f"{path}: {error}", fix="check the path"
        ) from error
    packages, doubts = list[Package](), list[Doubt]()
    for number, line in _lines(text):
        option = re.match(r"(-r|--requirement|-c|--constraint)[=\s]+(\S+)", line)
        found = _line(line, number) if option is None else _included(path, option[2], number, depth)
        packages += found.packages
        doubts += found.doubts
    # what an included file holds knows its own name already
    return Listing(
        tuple(replace(p, file=p.file or path.name) for p in packages),
        tuple(replace(d, file=d.file or path.name) for d in doubts),
    )


def _included(path: Path, name: str, number: int, depth: int) -> Listing:
    other = (path.parent / name).resolve()
    inside = other.is_relative_to(path.parent.resolve()) and other.is_file()
    if depth >= DEEPEST or not inside:
        return _doubt(BROKEN, name, "a file that is not beside this one is included", number)
    return read(other, depth + 1)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of the first, without comments."""
    held, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        whole = re.sub(r"(^|\s)#.*", "", held + line).strip()
        if whole:
            yield start, whole
        held, start = "", 0


def _doubt(rule: Rule, subject: str, reason: str, line: int) -> Listing:
    return Listing((), (Doubt(rule, show(subject, 100), reason, line),))


def _line(line: str, number: int) -> Listing:
    if line.startswith(("--extra-index-url", "--find-links", "-f ")):
        rule = PLAIN_HTTP if "http://" in line else INDEX
        return _doubt(rule, _hidden(line), "pip takes the highest version of both", number)
    if line.startswith(("--index-url", "-i ", "--trusted-host")):
        weak = "http://" in line or line.startswith("--trusted-host")
        told = "anyone on the way can put in another package"
        return _doubt(PLAIN_HTTP, _hidden(line), told, number) if weak else Listing((), ())
    if line.startswith("-") and not line.startswith(("-e", "--editable")):
        return Listing((), ())
    body = re.sub(r"\s--(hash|config-settings|global-option)[=\s]\S+", "", line)
    body = re.sub(r"^(-e|--editable)[=\s]+", "", body).strip()
    if re.match(r"(git|hg|svn|bzr)\+", body) or re.match(
        r"[\w.\-\[\],]+\s*@\s*(git|hg|svn|bzr)\+", body
    ):
        fixed = re.search(r"@[0-9a-f]{40}(#|$|\s)", body) is not None
        return (
            Listing((), ())
            if fixed
            else _doubt(MOVING, _hidden(body), "no commit is named", number)
        )
    if re.match(r"(https?|ftp|file):", body) or re.match(r"[\w.\-\[\],]+\s*@\s*\w+:", body):
        hashed = "--hash" in line or "#sha256=" in body
        return (
            Listing((), ()) if hashed else _doubt(DIRECT, _hidden(body), "no hash is named", number)
        )
    if body.startswith((".", "/")):
        return Listing((), ())
    try:
        wanted = Requirement(body)
    except InvalidRequirement:
        return _doubt(BROKEN, line, "it is no requirement", number)
    name, parts = str(canonicalize_name(wanted.name)), list(wanted.specifier)
    exact = [s.version for s in parts if s.operator in ("==", "===") and "*" not in s.version]
    package = Package(name, exact[0] if exact else None, number, str(wanted.specifier))
    doubts = list(_named(name, number))
    if not exact:
        told = f"what is installed changes with time: {wanted.specifier or 'any version'}"
        doubts.append(Doubt(UNPINNED, show(name), told, number))
    return Listing((package,), tuple(doubts))


def _hidden(text: str) -> str:
    """Without the password that an address may hold."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _named(name: str, line: int) -> Iterator[Doubt]:
    if name in CONFUSED:
        yield Doubt(NAME, show(name), f"the package is called {CONFUSED[name]}", line)
    elif name not in KNOWN and name not in FINE:
        near = sorted(k for k in KNOWN if len(k) > 4 and close(name, k))
        if near:
            yield Doubt(NAME, show(name), f"one letter from {near[0]}", line)


def close(a: str, b: str) -> bool:
    """Whether one insertion, removal, change or swap of neighbours makes one of the other."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    i = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rests = (a[i + 1 :], b[i + 1 :]), (a[i:], b[i + 1 :]), (a[i + 1 :], b[i:])
    swapped = a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :]
    return any(x == y for x, y in rests) or swapped
