"""What a Python source does besides computing, read from its syntax: nothing of it is run.

A name counts wherever it is looked up, whether or not it is called there: what is handed on can be
called elsewhere. What runs on import are the statements of the module, bodies of classes, defaults
and decorators, and every function of the module that these call, directly or through others.
"""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.supply.pickle_values import Exhausted, Malformed

MOST = 2**21
_NODES, _NAMES = 400_000, 20


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TABLE = {
    "starts a process": """
        subprocess pty commands popen2 pexpect _posixsubprocess multiprocessing.Process
    """,
    "reaches the network": """
        socket _socket urllib.request urllib2 urllib.urlopen urllib.urlretrieve urllib3
        http.client httplib requests httpx aiohttp websocket websockets ftplib smtplib telnetlib
        paramiko xmlrpc.client webbrowser
    """,
    "loads code from the network": "torch.hub",
    "runs native code": "ctypes _ctypes cffi torch.ops.load_library torch.classes.load_library",
    "compiles and runs native code": "torch.utils.cpp_extension",
    "runs code that is made as it runs": """
        eval exec compile __builtins__ builtins code codeop timeit types.FunctionType
        types.CodeType marshal
    """,
    "imports what is named as it runs": """
        __import__ importlib.import_module importlib.util importlib.machinery imp
        pkgutil.resolve_name zipimport
    """,
    "looks names up as it runs": "globals",
    "looks modules up as it runs": "sys.modules",
    "changes how modules are imported": "sys.meta_path sys.path_hooks",
    "looks into its callers": "sys._getframe",
    "runs other code": "runpy",
    "reads pickles": """
        pickle _pickle cPickle dill cloudpickle shelve joblib.load pandas.read_pickle torch.load
    """,
    "loads other models": "torch.jit.load",
    "loads other code": "torch.package",
    "builds objects from text": "yaml.load yaml.unsafe_load yaml.full_load",
    "opens files": """
        open io.open io.FileIO codecs.open zipfile.ZipFile tarfile fileinput numpy.fromfile
        numpy.memmap torch.from_file linecache
    """,
    "changes files": "shutil",
    "makes files": "tempfile",
    "leaves code that runs at the end": "atexit",
    "leaves code that runs later": "signal.signal sys.settrace sys.setprofile sys.addaudithook",
}
_MODULES = {name: what for what, names in _TABLE.items() for name in names.split()}
"""Names, and all that is looked up through them, with what they do."""
_HARMLESS = (
    "pickle.HIGHEST_PROTOCOL", "pickle.DEFAULT_PROTOCOL", "pickle.PickleError",
    "pickle.UnpicklingError", "pickle.PicklingError", "subprocess.CalledProcessError",
    "subprocess.TimeoutExpired", "subprocess.PIPE", "subprocess.DEVNULL", "socket.timeout",
    "socket.error", "socket.gaierror", "requests.exceptions", "importlib.util.find_spec",
    "torch.package.package_exporter", "ctypes.util", "shutil.get_terminal_size",
    "requests.HTTPError", "requests.RequestException", "tarfile.TarError", "tempfile.gettempdir",
)  # fmt: skip
_OS = _words("""
    system popen popen2 popen3 popen4 fork forkpty startfile kill killpg posix_spawn posix_spawnp
    execl execle execlp execlpe execv execve execvp execvpe spawnl spawnle spawnlp spawnlpe spawnv
    spawnve spawnvp spawnvpe
""")
_OS_FILES = _words("""
    remove unlink rmdir removedirs rename renames replace chmod chown lchown symlink link mkfifo
    mknod truncate open write makedirs mkdir fdopen putenv
""")
_METHODS = {
    "write_text": "writes files", "write_bytes": "writes files", "unlink": "changes files",
    "extractall": "unpacks archives", "rmtree": "changes files", "symlink_to": "changes files",
    "hardlink_to": "changes files", "__subclasses__": "reaches all classes", "__globals__":
    "looks names up as it runs", "__builtins__": "runs code that is made as it runs", "__code__":
    "changes code", "f_globals": "looks into its callers", "load_library": "runs native code",
    "__loader__": "imports what is named as it runs",
}  # fmt: skip
"""Names after a dot, whatever stands before it."""
_SPECIAL = (
    "__init__", "__new__", "__call__", "__enter__", "__exit__", "__post_init__", "__del__",
    "__init_subclass__", "__set_name__", "__getattr__", "__iter__", "__next__", "__getitem__",
)  # fmt: skip
"""Methods that run when a class of the module is used, though nobody writes their names."""
_LOOKS = ("getattr", "setattr", "delattr")
_BUILTIN = ("eval", "exec", "compile", "open", "__import__", "globals", "__builtins__")
"""Names that need no import."""
_HANDED = (
    "os", "posix", "nt", "subprocess", "builtins", "__builtins__", "importlib", "ctypes", "socket",
    "shutil", "pickle", "marshal", "runpy", "pty",
)  # fmt: skip
"""Modules that are looked at when they are used as values: what is done with them is then unseen."""


@dataclass(frozen=True)
class Effect:
    """Something that a source does.

    Attributes:
        line: where.
        what: what it does, with the name by which it does it.
        imports: whether it happens on import.
    """

    line: int
    what: str
    imports: bool


def effects(source: bytes) -> list[Effect]:
    """All effects of a source, in the order of its lines.

    Raises:
        Malformed: it is no Python that this version reads.
        Exhausted: it is longer or deeper than is read.
    """
    if len(source) > MOST:
        raise Exhausted(f"{len(source):,} bytes of Python, where {MOST:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on odd literals
            tree = ast.parse(source)
    except (SyntaxError, ValueError, LookupError) as error:
        raise Malformed("no Python that can be read") from error
    except (RecursionError, MemoryError) as error:
        raise Exhausted("Python that is nested deeper than is read") from error
    count = sum(1 for _ in ast.walk(tree))
    if count > _NODES:
        raise Exhausted(f"more than {_NODES:,} expressions of Python")
    known = _Known(tree)
    runs = _imported(tree)
    found = {
        Effect(line, what, imports=id(node) in runs)
        for node in ast.walk(tree)
        for line, what in known.effect(node)
    }
    return sorted(found, key=lambda e: (e.line, e.what, e.imports))


def _aliases(tree: ast.AST) -> dict[str, str]:
    """What a name stands for: by imports, and by assignments of such names to others."""
    names = {name: name for name in _BUILTIN}
    given: list[ast.Assign] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Assign):
            given.append(node)
    for node in given * 3:  # names of names of names
        told = _dotted(node.value, names)
        fresh = [t.id for t in node.targets if isinstance(t, ast.Name) and t.id not in _BUILTIN]
        names |= dict.fromkeys(fresh if told else (), told)
    return names


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of `a.b.c`, "" where it is none, or its beginning is nothing imported."""
    pieces: list[str] = []
    while isinstance(node, ast.Attribute) and len(pieces) < _NAMES:
        pieces.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    root = names.get(node.id)
    return ".".join([root, *reversed(pieces)]) if root else ""


def _says(name: str) -> str:
    """What a full name does, "" where nothing is known of it."""
    if any(name == fine or name.startswith(f"{fine}.") for fine in _HARMLESS):
        return ""
    root, _, rest = name.partition(".")
    if root in _HANDED and rest.startswith("__dict__"):
        return "looks names up as it runs"
    if root in ("os", "posix", "nt"):
        first = rest.split(".")[0]
        return "starts a process" if first in _OS else "changes files" if first in _OS_FILES else ""
    pieces = name.split(".")
    for count in range(len(pieces), 0, -1):
        told = _MODULES.get(".".join(pieces[:count]))
        if told:
            return told
    return ""


class _Known:
    """What the names of one source stand for, and which places need another look."""

    def __init__(self, tree: ast.AST) -> None:
        self._names = _aliases(tree)
        self._inner: set[int] = set()
        self._passed: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                self._inner.add(id(node.value))
            elif isinstance(node, ast.Call):
                self._pass(node)

    def _pass(self, node: ast.Call) -> None:
        """Calls that are safe by their arguments, or are looked at by `_looked_up`."""
        name = _dotted(node.func, self._names)
        safe = {"torch.load": "weights_only"}.get(name)
        if any(k.arg == safe and isinstance(k.value, ast.Constant) and k.value.value is True
               for k in node.keywords if safe):  # fmt: skip
            self._passed.add(id(node.func))
        looks = isinstance(node.func, ast.Name) and node.func.id in (*_LOOKS, "hasattr")
        if looks and len(node.args) > 1:
            self._passed.add(id(node.args[0]))

    def effect(self, node: ast.AST) -> Iterator[tuple[int, str]]:
        """What one node does."""
        if isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            told = "hands a module on" if node.module in _HANDED else _says(node.module)
            if told:
                yield node.lineno, f"{told} ({node.module}.*)"
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield from self._name(node)
        elif isinstance(node, ast.Call):
            yield from self._call(node)

    def _name(self, node: ast.Name | ast.Attribute) -> Iterator[tuple[int, str]]:
        name = _dotted(node, self._names)
        if isinstance(node, ast.Attribute) and node.attr in _METHODS:
            yield node.lineno, f"{_METHODS[node.attr]} ({node.attr})"
        elif name and id(node) not in self._inner and id(node) not in self._passed:
            told = "hands a module on" if name in _HANDED else _says(name)
            if told:
                yield node.lineno, f"{told} ({name})"

    def _call(self, node: ast.Call) -> Iterator[tuple[int, str]]:
        name = _dotted(node.func, self._names)
        if name == "numpy.load" and any(k.arg == "allow_pickle" for k in node.keywords):
            yield node.lineno, "reads pickles (numpy.load)"
        if isinstance(node.func, ast.Name) and node.func.id in _LOOKS and len(node.args) > 1:
            thing, key = _dotted(node.args[0], self._names), node.args[1]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                told = _METHODS.get(key.value) or (_says(f"{thing}.{key.value}") if thing else "")
                if told:
                    yield node.lineno, f"{told} ({thing or 'a value'}.{key.value})"
            elif thing in _HANDED:
                yield node.lineno, f"looks names up as it runs ({thing})"


def _imported(tree: ast.Module) -> set[int]:
    """Identities of the nodes that run on import."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    by_name: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for function in functions:
        by_name.setdefault(function.name, []).append(function)
    classes = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    runs: set[int] = set()
    left: list[ast.AST] = list(tree.body)
    while left:
        node = left.pop()
        if id(node) in runs:
            continue
        runs.add(id(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            left += _outside(node)
        elif isinstance(node, ast.If) and _is_main(node.test):
            left += node.orelse
        else:
            called = node.id if isinstance(node, ast.Name) else ""
            called = node.attr if isinstance(node, ast.Attribute) else called
            wanted = [called, *(_SPECIAL if called in classes else ())]
            left += [step for name in wanted for f in by_name.get(name, ()) for step in f.body]
            left += ast.iter_child_nodes(node)
    return runs


def _outside(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    """What of a function runs where it is defined: decorators, defaults, annotations."""
    told: list[ast.AST | None] = [*node.decorator_list, node.args, node.returns]
    return [each for each in told if each is not None]


def _is_main(test: ast.AST) -> bool:
    """`__name__ == "__main__"`, which is false on import."""
    if (
        not isinstance(test, ast.Compare)
        or len(test.ops) != 1
        or not isinstance(test.ops[0], ast.Eq)
    ):
        return False
    sides = [test.left, test.comparators[0]]
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return named and any(isinstance(s, ast.Constant) and s.value == "__main__" for s in sides)
