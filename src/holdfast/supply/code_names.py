"""What the names of a training script stand for: imports, functions, classes and their bases."""

import ast
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef
ACTS = frozenset(
    {"backward", "train_on_batch", "partial_fit", "apply_gradients", "manual_backward", "minimize"}
)
"""Methods that train; `step` alone is one of schedulers and environments too."""


@dataclass(frozen=True)
class Names:
    """Of one module.

    Attributes:
        imported: dotted name by local name.
        functions: those of the module itself.
        classes: by name.
        methods: by class and name, with those of local bases.
        losses: classes that derive from a loss of a library.
        modules: classes that derive from a model of a library.
        samplers: names of functions that give samples or batches.
        entries: every function with its class, "" for none.
        trainers: functions in which something is trained, or that call one.
    """

    imported: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    methods: dict[tuple[str, str], Function] = field(default_factory=dict)
    losses: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    samplers: set[str] = field(default_factory=set)
    entries: list[tuple[str, Function]] = field(default_factory=list)
    trainers: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, tree: ast.Module) -> "Names":  # noqa: C901 - a case per statement
        """Read them off."""
        names = cls(samplers={"__getitem__", "__iter__"})
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.imported.update(imports(node))
            elif isinstance(node, ast.ClassDef):
                names.classes[node.name] = node
            elif isinstance(node, ast.Call):
                given = [k.value for k in node.keywords if k.arg == "collate_fn"]
                names.samplers.update(g.id for g in given if isinstance(g, ast.Name))
                names.samplers.update(g.attr for g in given if isinstance(g, ast.Attribute))
        for node in tree.body:
            names._collect(node)
        for _ in range(3):  # bases of bases
            for name, each in names.classes.items():
                names._bases(name, each)
        known = {f.name: f for _, f in names.entries}
        for _ in range(4):
            for name, function in known.items():
                if names.trains(function.body):
                    names.trainers.add(name)
        return names

    def _collect(self, node: ast.stmt) -> None:
        if isinstance(node, Function):
            self.functions[node.name] = node
            self.entries.append(("", node))
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, Function):
                    self.methods[node.name, each.name] = each
                    self.entries.append((node.name, each))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for each in node.body:
                self._collect(each)

    def _bases(self, name: str, node: ast.ClassDef) -> None:
        for base in node.bases:
            dotted = self.dotted(base)
            last = dotted.rpartition(".")[2]
            if dotted in self.losses or (is_loss(last) and last not in self.classes):
                self.losses.add(name)
            elif dotted in self.modules or last in ("Module", "Model", "LightningModule", "Layer"):
                self.modules.add(name)
            for (owner, method), function in list(self.methods.items()):
                if owner == dotted:
                    self.methods.setdefault((name, method), function)

    def dotted(self, node: ast.expr) -> str:
        """`a.b.c` with the import behind `a`; "" for anything else."""
        parts = list[str]()
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.imported.get(node.id, node.id), *reversed(parts)])

    def trains(self, body: list[ast.stmt]) -> bool:
        """Whether something is trained in these statements."""
        for statement in body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call):
                    func = node.func
                    last = func.attr if isinstance(func, ast.Attribute) else ""
                    if last in ACTS or (isinstance(func, ast.Name) and func.id in self.trainers):
                        return True
                    if last in self.trainers and last not in ("fit", "train", "step"):
                        return True
        return False


def imports(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Local names and what they stand for."""
    if isinstance(node, ast.Import):
        return {
            a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
            for a in node.names
        }
    base = "." * node.level + (node.module or "")
    return {a.asname or a.name: f"{base}.{a.name}" for a in node.names}


def is_loss(last: str) -> bool:
    """Whether a class is a loss, by how PyTorch and Keras name theirs."""
    return last.endswith(("Loss", "Crossentropy", "MeanSquaredError", "KLDivergence"))
