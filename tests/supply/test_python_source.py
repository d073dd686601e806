"""Python sources: what they do on import and elsewhere, read from their syntax."""

import pytest

from holdfast.core.record import Severity
from holdfast.supply.code_review import effects
from holdfast.supply.files import scan_bytes
from holdfast.supply.pickle_values import Exhausted, Malformed
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import EVIL, zipped

NET = b'''
"""A network."""
import torch
from torch import nn
import numpy as np
import os, re, argparse, logging
from pathlib import Path

log = logging.getLogger(__name__)
WORD = re.compile(r"\\w+")
HERE = Path(__file__).parent
HOME = os.environ.get("HOME", os.path.join("a", "b"))

class Net(nn.Module):
    def __init__(self, code: int = 3, requests=None):
        super().__init__()
        self.layer = nn.Linear(code, 2)
        self.file = requests

    def forward(self, x):
        return torch.relu(self.layer(x))

model = torch.compile(Net()).eval()
if __name__ == "__main__":
    print(open("data.txt").read())
'''
ON_IMPORT = {
    "a call": "import os\nos.system('true')",
    "another name": "import os as o\no.system('true')",
    "a name from a module": "from subprocess import run as go\ngo(['true'])",
    "a name of a name": "import os\nf = os.system\ng = f\ng('true')",
    "a module in a list": "import os\n[os][0].system('true')",
    "getattr": "import os\ngetattr(os, 'sys' + 'tem')('true')",
    "getattr by its word": "import os\ngetattr(os, 'system')('true')",
    "a dictionary of a module": "import os\nos.__dict__['system']('true')",
    "exec": "exec('pass')",
    "eval through builtins": "import builtins\nbuiltins.eval('1')",
    "import by name": "__import__('o' + 's').system('true')",
    "importlib": "import importlib\nimportlib.import_module('os')",
    "a decorator": "import os\n@os.popen\ndef f(): pass",
    "a default": "import os\ndef f(x=os.system('true')): pass",
    "a class body": "import os\nclass A:\n    x = os.system('true')",
    "a function that is called": "import os\ndef f():\n    os.system('true')\ndef g():\n    f()\ng()",
    "a class that is made": "import os\nclass A:\n    def __init__(self):\n        os.system('x')\nA()",
    "a method": "import os\nclass A:\n    def go(self):\n        os.system('x')\nA().go()",
    "a lambda": "import os\n(lambda: os.system('true'))()",
    "a comprehension": "import os\n[os.system(x) for x in ('true',)]",
    "subclasses": "().__class__.__base__.__subclasses__()",
    "all names": "from os import *\nsystem('true')",
    "the network": "import urllib.request\nurllib.request.urlopen('data:,')",
    "native code": "import ctypes\nctypes.CDLL(None)",
    "a pickle": "import pickle\npickle.loads(b'N.')",
    "a model": "import torch\ntorch.load('m.pt')",
    "a file": "open('x', 'w')",
    "a path": "from pathlib import Path\nPath('x').write_text('')",
    "in an else of main": "import os\nif __name__ == '__main__':\n    pass\nelse:\n    os.system('x')",
    "a false main": "import os\nif __name__ != '__main__':\n    os.system('x')",
}


@pytest.mark.parametrize("source", ON_IMPORT.values(), ids=ON_IMPORT.keys())
def test_what_happens_on_import_is_flagged(source) -> None:
    assert any(effect.imports for effect in effects(source.encode()))
    scan = scan_bytes(source.encode(), "net.py")
    assert scan.verdict is Verdict.FLAGGED
    assert scan.issues[0].rule.severity is Severity.HIGH


BENIGN = {
    "a network": NET,
    "a function that nobody calls": b"import os\ndef f():\n    os.system('true')",
    "main": b"import subprocess\nif __name__ == '__main__':\n    subprocess.run(['true'])",
    "weights only": b"import torch\nw = torch.load('m.pt', weights_only=True)",
    "words of other things": b"import re\ncode = 1\nrequests = [code]\nre.compile('x')\nm = f = None",
    "an error": b"import subprocess\ntry:\n    pass\nexcept subprocess.CalledProcessError:\n    pass",
    "nothing": b"# a comment\n",
}


@pytest.mark.parametrize("source", BENIGN.values(), ids=BENIGN.keys())
def test_a_lone_source_without_effects_on_import_is_clean(source) -> None:
    assert not any(effect.imports for effect in effects(source))
    scan = scan_bytes(source, "net.py")
    assert scan.verdict is Verdict.CLEAN
    assert scan.pieces[0].format == "Python source"


def test_the_line_is_told() -> None:
    (effect,) = effects(b"import os\n\n\ndef f():\n    os.system('x')\n")
    assert (effect.line, effect.imports) == (5, False)
    assert effect.what == "starts a process (os.system)"


def test_a_shebang_is_enough() -> None:
    assert scan_bytes(b"#!/usr/bin/env python3\nexec('pass')\n", "run").verdict is Verdict.FLAGGED


@pytest.mark.parametrize("manifest", ["MAR-INF/MANIFEST.json", "p/.data/extern_modules"])
def test_code_that_travels_with_a_model_is_named_even_when_it_waits(manifest) -> None:
    source = b"import os\ndef handle(data, context):\n    return os.system('true')\n"
    scan = scan_bytes(zipped({manifest: b"{}", "p/handler.py": source}), "m.mar")
    assert scan.verdict is Verdict.UNREAD
    assert "starts a process (os.system)" in scan.issues[0].title
    assert scan_bytes(zipped({manifest: b"{}", "p/net.py": NET}), "m.mar").verdict is Verdict.UNREAD
    quiet = b"import torch\ndef handle(data, context):\n    return torch.tensor(data)\n"
    assert (
        scan_bytes(zipped({manifest: b"{}", "p/handler.py": quiet}), "m").verdict is Verdict.CLEAN
    )
    runs = zipped({manifest: b"{}", "p/handler.py": b"import os\nos.system('true')\n"})
    assert scan_bytes(runs, "m.mar").verdict is Verdict.FLAGGED


def test_what_cannot_be_read_is_never_clean() -> None:
    for source in (b"print 'two'\n", b"x = (" * 3000, b"x = '\\0'\n\0", b"# coding: none\nx = 1\n"):
        with pytest.raises((Malformed, Exhausted)):
            effects(source)
        assert scan_bytes(source, "a.py").verdict is not Verdict.CLEAN
    with pytest.raises(Exhausted):
        effects(b"x = 1\n" * 500_000)
    assert scan_bytes(b"-" * 200_000 + b"1", "a.py").verdict is not Verdict.CLEAN


def test_a_pickle_called_python_is_a_pickle() -> None:
    scan = scan_bytes(EVIL, "net.py")
    assert scan.verdict is Verdict.FLAGGED
    assert any("os.system" in issue.title for issue in scan.issues)
