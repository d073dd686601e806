"""TorchScript and torch.export: operators that leave the model, by real files and by built ones."""

import io
import json
import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from holdfast.core.errors import NotApplicable
from holdfast.supply.files import scan_bytes
from holdfast.supply.formats.torchscript import words
from holdfast.supply.pickle_values import Malformed
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.torchscript_scan import TorchscriptScan
from tests.supply.bypasses import EVIL, u, zipped

HEAD = """class Net(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
"""


def archive(body: str, head: str = HEAD, file: str = "a/code/__torch__.py") -> bytes:
    """A compiled model whose forward has these lines."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    source = f"{head}  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n{lines}"
    return zipped({"a/data.pkl": pickle.dumps({}, 2), file: source.encode(), "a/version": b"3\n"})


def scanned(content: bytes):
    return scan_bytes(content, "m.pt")


class Net(nn.Module):
    """Convolution, normalisation, pooling, a branch, a loop and an error, as image nets have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 100:
            raise ValueError(f"too many rows to save: {x.shape}")
        for _ in range(2):
            x = torch.relu(self.norm(self.conv(x)))
            x = nn.functional.interpolate(x, size=[8, 8])[:, :3]
        x = nn.functional.adaptive_avg_pool2d(self.conv(x), [1, 1])
        return self.head(x.flatten(1))


def compiled() -> dict[str, bytes]:
    """Files by torch itself."""
    net, x, made = Net().eval(), torch.zeros(1, 3, 8, 8), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecation
        scripted = torch.jit.script(net)
        quantized = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
        encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
        things = {
            "script": scripted, "trace": torch.jit.trace(net, x, check_trace=False),
            "frozen": torch.jit.freeze(scripted), "quantized": torch.jit.script(quantized),
            "lstm": torch.jit.script(nn.LSTM(3, 4)), "encoder": torch.jit.script(encoder),
        }  # fmt: skip
        for name, thing in things.items():
            out = io.BytesIO()
            torch.jit.save(thing, out)
            made[name] = out.getvalue()
    return made


def test_compiled_models_of_torch_are_clean() -> None:
    for name, content in compiled().items():
        scan = scanned(content)
        assert (name, scan.verdict, scan.issues) == (name, Verdict.CLEAN, ())
        assert any(piece.format == "TorchScript" for piece in scan.pieces)


CALLS = {
    "save": 'ops.aten.save(x, "f")', "short save": '_0 = torch.save(x, "f")',
    "from_file": '_0 = torch.from_file("f", False, 10)',
    "spaces": '_0 = torch . \\\n from_file ("f")', "a method": '(x).save("f", )',
    "a method of a text": '_0 = ("f").from_file(False, 10)', "a row": 'x[0].save("f")',
    "of a part": 'self.part.save("f")', "through ops": 'torch.ops.aten.save(x, "f")',
    "in a setter": 'if True:\n  torch.save(x, "a # b")\nelse:\n  pass',
    "after a text": "_0 = 'it\\'s'; torch.save(x, 'f')", "images": 'ops.image.read_file("f")',
    "other machines": 'rpc_async("worker", x)', "through prim": "ops.prim.rpc_sync(x)",
}  # fmt: skip


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS.keys())
def test_operators_that_leave_the_model_are_flagged(body) -> None:
    scan = scanned(archive(body))
    assert scan.verdict is Verdict.FLAGGED
    assert any(i.rule.id == "torchscript_scan/executing-callable" for i in scan.issues)


def test_a_call_is_named_at_its_place() -> None:
    content = archive('ops.aten.save(x, "f")')
    (issue,) = scanned(content).issues
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        source = opened.read("a/code/__torch__.py")
    assert issue.subject == "aten::save"
    assert issue.member == "a/code/__torch__.py"
    assert source[issue.offset :].startswith(b"ops.aten.save")
    assert "CVE-2025-32434" in issue.rule.refs


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("ops.lovely.helper(x)", Verdict.FLAGGED),
        ("_0 = __torch__.torch.classes.lovely.Thing()", Verdict.FLAGGED),
        ("_0 = torch\n_1 = _0", Verdict.UNREAD), ("_0 = ops.aten", Verdict.UNREAD),
        ("_0 = ops", Verdict.UNREAD), ("_0 = 'a text without an end", Verdict.UNREAD),
        ("_0 = \"\"\"a # text", Verdict.UNREAD),
    ],
)  # fmt: skip
def test_what_is_not_torchs_or_not_seen_is_not_clean(body, verdict) -> None:
    assert scanned(archive(body)).verdict is verdict


BENIGN = {
    "a text": '_0 = "torch.save(x) and x.save(1)"', "a comment": "# torch.save(x)\nreturn x",
    "own code": "_0 = __torch__.helpers.save(x)", "a word": "save = torch.relu(x)",
    "vision": "_0 = ops.torchvision.nms(x, x, 0.5)", "a class": "_0 = x\n_1 = uninitialized(Tensor)",
    "quantized": "_0 = ops.quantized.linear_dynamic(x, __torch__.torch.classes.quantized.P(x))",
    "an error": 'ops.prim.RaiseException("x", "builtins.ValueError")', "numbers": "_0 = 1.e-5, .5, 3.",
}  # fmt: skip


@pytest.mark.parametrize("body", BENIGN.values(), ids=BENIGN.keys())
def test_ordinary_code_is_clean(body) -> None:
    assert scanned(archive(body)).verdict is Verdict.CLEAN


def test_a_method_of_the_model_may_be_called_save() -> None:
    head = HEAD + "  save : bool\n  def save(self: __torch__.Net) -> int:\n    return 1\n"
    assert scanned(archive("_0 = (self).save()\n_1 = self.save", head)).verdict is Verdict.CLEAN
    assert scanned(archive("_0 = (x).save()", head)).verdict is Verdict.FLAGGED
    decoy = head + "class Other(Module):\n"
    assert scanned(archive("_0 = (self).save()", decoy)).verdict is Verdict.FLAGGED


def test_operators_of_models_for_phones_are_read_in_their_pickle() -> None:
    def phone(operator: str) -> bytes:
        told = pickle.dumps((5, ("operators", ((operator, "", 2),))), 2)
        return zipped({"a/data.pkl": pickle.dumps({}, 2), "a/bytecode.pkl": told})

    assert scanned(phone("aten::relu")).verdict is Verdict.CLEAN
    assert scanned(phone("aten::save")).verdict is Verdict.FLAGGED
    assert scanned(phone("lovely::helper")).verdict is Verdict.FLAGGED


def test_a_pickle_in_the_code_and_in_the_data_is_still_found() -> None:
    bad = {"a/data.pkl": EVIL, "a/code/__torch__.py": b"", "a/version": b"3\n"}
    assert scanned(zipped(bad)).verdict is Verdict.FLAGGED
    bad = {"a/data.pkl": pickle.dumps({}, 2), "a/code/x.py.debug_pkl": EVIL, "a/code/x.py": b""}
    assert scanned(zipped(bad)).verdict is Verdict.FLAGGED
    hidden = b"\x80\x02c__torch__.os\nsystem\n(" + u("true") + b"tR."
    assert scanned(zipped({"a/data.pkl": hidden})).verdict is Verdict.FLAGGED


def test_words_are_those_of_the_language() -> None:
    assert [w for _, w, _ in words('a.b("c.d") # e\n1.5e-3+x')] == [
        "a", ".", "b", "(", '"c.d"', ")", "1.5e-3", "+", "x",
    ]  # fmt: skip
    with pytest.raises(Malformed):
        list(words('"\n"'))


def exported(change=lambda tree: None) -> bytes:
    """A program as torch 2.x writes it, with a change."""
    node = {
        "target": "torch.ops.aten.relu.default", "metadata": {},
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}],
        "outputs": [{"as_tensor": {"name": "y"}}],
    }  # fmt: skip
    graph = {"nodes": [node], "inputs": [], "outputs": [], "sym_int_values": {}}
    printed = "Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(-1))"
    sizes = {"as_expr": {"expr_str": printed, "hint": None}}
    spec = {"parameter": {"arg": {"name": "p"}, "parameter_name": "os.system"}}
    tree = {
        "graph_module": {"graph": graph, "signature": {"input_specs": [spec]}},
        "opset_version": {"aten": 10}, "range_constraints": {}, "sizes": [sizes],
    }  # fmt: skip
    change(tree)
    return zipped({"m/models/model.json": json.dumps(tree).encode(), "m/archive_format": b"pt2"})


def aim(target: str):
    def change(tree) -> None:
        tree["graph_module"]["graph"]["nodes"][0]["target"] = target

    return change


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.add.Tensor", "torch.ops.higher_order.cond", "_operator.mul", "math.trunc",
     "torch.sym_max", "torch.ops.aten.sym_size.int"],
)  # fmt: skip
def test_operators_of_exported_programs_are_clean(target) -> None:
    scan = scan_bytes(exported(aim(target)), "m.pt2")
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert scan.pieces[0].format == "torch.export program"


@pytest.mark.parametrize(
    "target",
    ["torch.serialization.os.system", "torch.load", "torch.hub.load", "torch.ops.load_library",
     "torch.ops.lovely.helper", "_operator.methodcaller", "torchx.os.system", "#lovely:f",
     "math.__loader__.load_module", "torch.ops.aten.save.default"],
)  # fmt: skip
def test_other_targets_are_flagged_and_named(target) -> None:
    scan = scan_bytes(exported(aim(target)), "m.pt2")
    assert scan.verdict is Verdict.FLAGGED
    assert any(issue.subject == target for issue in scan.issues)


@pytest.mark.parametrize(
    "told", ["__import__('os').system('true')", "S('x')", "Symbol('x').__class__", "Lambda(x, x)"]
)
def test_expressions_that_sympy_would_run_are_flagged(told) -> None:
    def change(tree) -> None:
        tree["sizes"][0]["as_expr"]["expr_str"] = told

    assert scan_bytes(exported(change), "m.pt2").verdict is Verdict.FLAGGED


def test_a_program_whose_keys_are_escaped_is_still_one() -> None:
    content = exported(aim("torch.os.system")).replace(b'"graph_module"', b'"graph\\u005fmodule"')
    text = json.dumps({"graph_module": {"nodes": [{"target": "torch.os.system"}]}})
    told = text.replace("graph_module", "graph\\u005fmodule").encode()
    assert scan_bytes(told, "m.json").verdict is Verdict.FLAGGED
    assert scan_bytes(content, "m.pt2").verdict is not Verdict.CLEAN


def test_programs_of_torch_itself_are_clean() -> None:
    class Small(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.relu(x), x]).view(2 * x.shape[0], 4)

    rows = torch.export.Dim("rows", min=4, max=32)
    program = torch.export.export(Small(), (torch.zeros(8, 4),), dynamic_shapes={"x": {0: rows}})
    out = io.BytesIO()
    torch.export.save(program, out)
    scan = scan_bytes(out.getvalue(), "m.pt2")
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert scan.others == 0


def test_the_scanner_answers_for_its_own_rules(tmp_path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(archive('ops.aten.save(x, "f")'))
    first, last = TorchscriptScan().scan(path)
    assert first.rule == "supply/torchscript_scan/executing-callable"
    assert last.rule == "supply/archive_scan/read"
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(NotApplicable):
        list(TorchscriptScan().scan(path))
