"""What can be seen in training code without following values: dynamic code, patches, the network."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.supply import code_rules as rules
from holdfast.supply.code_names import Function, Names
from holdfast.supply.code_watch import Found
from holdfast.supply.rules import Rule

RUNS = frozenset({"exec", "eval", "compile", "execfile"})
OBJECTS = re.compile(r"(marshal\.loads?|types\.(FunctionType|CodeType)|code\.Interactive\w+"
                     r"|runpy\.\w+|ctypes\.(CDLL|PyDLL|cdll\..*))$")  # fmt: skip
COMMANDS = re.compile(r"(os\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*)|subprocess\.\w+"
                      r"|pty\.spawn|commands\.\w+)$")  # fmt: skip
SENDS = re.compile(r"(requests|httpx)\.(post|put|patch)$|socket\.\w+|(smtplib|ftplib|telnetlib)\.\w+"
                   r"|paramiko\.\w+|http\.client\.\w+")  # fmt: skip
FETCHES = re.compile(r"(requests|httpx)\.(get|request|head|Session|Client|stream)$"
                     r"|urllib\.request\.\w+|urllib3\.\w+|wget\.download|aiohttp\.\w+")  # fmt: skip
LIBRARIES = re.compile(
    r"(torch|torchvision|tensorflow|keras|sklearn|numpy|xgboost|lightgbm|jax"
    r"|transformers|lightning|pytorch_lightning|builtins|random|scipy|pandas)\b"
)
SECRETS = re.compile(r"(^|/)(\.ssh|\.aws|\.netrc|\.kube|\.docker|\.gnupg|\.bashrc|\.profile|\.zshrc"
                     r"|id_rsa|id_ed25519|shadow|passwd|crontab|site-packages|authorized_keys)\b"
                     r"|^/(etc|proc|root)/")  # fmt: skip
DANGEROUS = ("os", "sys", "subprocess", "builtins", "importlib", "socket", "ctypes", "shutil")
METHODS = frozenset({"forward", "__call__", "backward", "step", "zero_grad", "__getitem__",
                     "__iter__", "__next__", "train_step", "compute_loss", "call"})  # fmt: skip


@dataclass(frozen=True)
class Static:
    """One module.

    Attributes:
        tree: its statements.
        names: what its names stand for.
    """

    tree: ast.Module
    names: Names

    def found(self) -> Iterator[Found]:
        """Everything, in the order of the lines."""
        outer = set(map(id, _outer(self.tree)))
        guarded = any(
            isinstance(n, ast.If) and "__main__" in ast.unparse(n.test) for n in self.tree.body
        )
        script = not guarded and self.names.trains(self.tree.body)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield from self._call(node, id(node) in outer and not script)
            elif isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Attribute):
                        yield from self._patch(node, target, node.value)

    def _call(self, node: ast.Call, at_import: bool) -> Iterator[Found]:
        dotted = self.names.dotted(node.func)
        fixed = all(map(constant, [*node.args, *(k.value for k in node.keywords)]))
        if dotted.removeprefix("builtins.") in RUNS and dotted not in self.names.functions:
            yield _found(rules.DYNAMIC, node, "what it runs is not in the file")
        elif OBJECTS.match(dotted):
            yield _found(rules.DYNAMIC, node, "code comes from bytes or from another file")
        elif dotted in ("__import__", "builtins.__import__", "importlib.import_module"):
            rule = rules.INDIRECT if node.args and constant(node.args[0]) else rules.DYNAMIC
            if rule is rules.DYNAMIC and _plain(node.args[:1]):
                rule = rules.INDIRECT
            yield _found(rule, node, "a module is imported by a name that is computed")
        elif dotted in ("getattr", "setattr") and len(node.args) >= 2:
            yield from self._attribute(node, dotted)
        elif COMMANDS.match(dotted):
            rule = rules.PLAIN_COMMAND if fixed and not at_import else rules.COMMAND
            yield _found(rule, node, "it runs outside of the interpreter")
        elif SENDS.match(dotted):
            rule = rules.NETWORK_IMPORT if at_import else rules.SEND
            yield _found(rule, node, "training data and keys can leave this way")
        elif FETCHES.match(dotted):
            rule = rules.NETWORK_IMPORT if at_import else rules.NETWORK
            yield _found(rule, node, "what comes back was not reviewed")
        elif dotted in ("open", "io.open", "builtins.open") or dotted.endswith(
            ("read_text", "write_text")
        ):
            yield from self._file(node, at_import)

    def _attribute(self, node: ast.Call, dotted: str) -> Iterator[Found]:
        owner, name = node.args[0], node.args[1]
        base = self.names.dotted(owner)
        module = base.partition(".")[0]
        known = module in set(self.names.imported.values()) | {
            v.partition(".")[0] for v in self.names.imported.values()
        }
        if dotted == "setattr" and len(node.args) == 3:
            if known and LIBRARIES.match(base) and not constant(node.args[2]):
                yield _found(rules.PATCH, node, "every user of the library gets this code")
            elif constant(name) and getattr(name, "value", "") in METHODS:
                yield _found(rules.PATCH_OBJECT, node, "what its class says is not what it does")
        elif not constant(name) and (known or "__builtins__" in ast.unparse(owner)):
            hidden = base in DANGEROUS or not _plain([name]) or not known
            rule = rules.DYNAMIC if hidden else rules.INDIRECT
            yield _found(rule, node, "which object it is cannot be read in the file")

    def _patch(self, node: ast.stmt, target: ast.Attribute, value: ast.expr) -> Iterator[Found]:
        base = self.names.dotted(target.value)
        root = base.partition(".")[0]
        local = _root(target) in self.names.imported
        if local and base and LIBRARIES.match(base) and not base.endswith("__dict__"):
            if constant(value):
                yield _found(rules.SETTING, node, "a constant")
            elif root == "builtins" or not _setting(target, value):
                yield _found(rules.PATCH, node, "every user of the library gets this code")
        elif local and "ssl" in base and "context" in target.attr:
            yield _found(rules.PATCH_OBJECT, node, "certificates are no longer checked")
        elif target.attr in METHODS and not constant(value):
            yield _found(rules.PATCH_OBJECT, node, "what its class says is not what it does")

    def _file(self, node: ast.Call, at_import: bool) -> Iterator[Found]:
        texts = [
            n.value
            for n in ast.walk(node)
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
        if any(SECRETS.search(text) for text in texts):
            yield _found(rules.SECRET, node, "no training needs it")
        elif at_import:
            mode = next((t for t in texts[1:] if set(t) <= set("rwaxbt+") and t), "r")
            writes = set(mode) & set("wax+") or "write" in ast.unparse(node.func)
            rule = rules.FILE_IMPORT if writes else rules.FILE
            yield _found(rule, node, "it happens as soon as the module is imported")


def _found(rule: Rule, node: ast.AST, reason: str) -> Found:
    return Found(rule, getattr(node, "lineno", 0), " ".join(ast.unparse(node).split())[:90], reason)


def constant(node: ast.expr) -> bool:
    """Written out, with nothing computed."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.UnaryOp):
        return constant(node.operand)
    return isinstance(node, ast.List | ast.Tuple | ast.Set) and all(map(constant, node.elts))


def _plain(nodes: list[ast.expr]) -> bool:
    """A name, an attribute or an item of one: what an option of a command line looks like."""
    return all(isinstance(n, ast.Name | ast.Attribute | ast.Subscript) for n in nodes)


def _setting(target: ast.Attribute, value: ast.expr) -> bool:
    """Whether only a switch is set, such as torch.backends.cudnn.benchmark = args.fast."""
    chain = ast.unparse(target)
    return any(p in chain for p in (".backends.", ".config.", "_config.")) and _plain([value])


def _root(node: ast.expr) -> str:
    """The name at the beginning of a chain."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _outer(tree: ast.Module) -> Iterator[ast.AST]:
    """What is run when the module is imported: no bodies of functions, no main guard."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        if isinstance(node, Function):
            waiting.extend(node.decorator_list)
        elif not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
