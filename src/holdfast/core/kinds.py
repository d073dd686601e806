"""One small abstract class per shape of method. A method inherits from exactly one of them.

Methods never batch, seed, move to devices, count queries, print or judge: the engine does.
"""

from abc import ABC, abstractmethod
from collections import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, runtime_checkable

from torch import Generator, Tensor, nn
from typing_extensions import TypeVar

from holdfast.core.dataset import Dataset
from holdfast.core.goal import Goal
from holdfast.core.method import Method
from holdfast.core.recipe import Background, TorchRecipe
from holdfast.core.record import Finding, Measurement
from holdfast.core.space import Budget
from holdfast.core.target import Scores

T_contra = TypeVar("T_contra", contravariant=True)
X = TypeVar("X", default=Tensor)
Out = TypeVar("Out", default=Tensor)
Raw = TypeVar("Raw", default=Tensor)


@dataclass(frozen=True, eq=False)
class Candidate(Generic[X]):
    """Inputs an attack proposes now, and to what degree it believes they reach the goal, (N,).

    `stage` names the part of a composed attack that made them: what it cost and what it broke is
    reported under that name. `rows` are their positions among all rows, from attacks that pool.
    """

    x: X
    degree: Tensor
    stage: str = ""
    rows: Tensor | None = None


Search = abc.Generator[Candidate[X], Tensor | None, None]
"""Yields candidates; receives the positions of the rows that are still wanted, or None for all."""


class EvasionAttack(Method, ABC, Generic[T_contra, X, Out, Raw]):
    """Change inputs within a budget until the goal is reached.

    After each yield the engine sends back `keep`, the positions in the yielded rows that it still
    wants, or None for all. A method that drops the others (`take(keep, ...)`) does no work on
    them; one that ignores `keep` stays correct and is merely slower.
    """

    measures: ClassVar[tuple[str, ...]] = ("linf", "l2")
    """The measures of change that the method can be run with."""
    minimises: ClassVar[bool] = False
    """Whether the method looks for the smallest change rather than any change within the budget."""
    pools: ClassVar[bool] = False
    """Whether the method wants all rows at once, to rank them. It then batches by itself, and each
    candidate says which `rows` it is for."""
    transfers: ClassVar[bool] = False
    """Whether gradients are to be those of surrogates, and only answers the target's own. How many
    surrogates and how they are fused say the hyperparameters `surrogates` and `fusion`, if any."""

    @abstractmethod
    def run(
        self, target: T_contra, x: X, goal: Goal[Out, Raw], budget: Budget, rng: Generator
    ) -> Search[X]:
        """Yield candidates for the rows `x`; the engine projects, judges and keeps the best."""


@runtime_checkable
class Learner(Protocol):
    """An evasion attack whose inputs come from a generator, trained on rows like the target's."""

    def learn(self, data: Dataset, rng: Generator) -> "EvasionAttack[Any]": ...


@runtime_checkable
class Judging(Protocol):
    """An evasion attack that makes new inputs, and brings who says which classes they show.

    `judge` had no part in making them: (N, ...) -> (N,) classes.
    """

    def judge(self, x: Tensor) -> Tensor: ...


class Delta(Protocol):
    """A finished universal change; a random placement, if any, is drawn from `rng`.

    `tensors` holds at least the content as `delta`; `refilled` is the same change with other
    content of that shape, from which controls are made.
    """

    def apply(self, x: Tensor, rng: Generator) -> Tensor: ...
    def refilled(self, content: Tensor) -> "Delta": ...
    def tensors(self) -> Mapping[str, Tensor]: ...


class UniversalAttack(Method, ABC, Generic[T_contra]):
    """One change for many inputs; the engine judges it on inputs that it was not made from."""

    thing: ClassVar[str] = "change"
    """What the change is called in measurements."""
    adds: ClassVar[bool] = False
    """Whether it is added to inputs; else it is put over them."""
    physical: ClassVar[Literal["", "object", "lens"]] = ""
    """Where it is in the world: then it is judged in random views, before or after it is put on."""

    @property
    def aims_at_class(self) -> bool:
        """Whether it steers inputs to one class: as its hyperparameter `targeted` says, if any."""
        return bool(getattr(self, "targeted", True))

    @abstractmethod
    def craft(
        self, target: T_contra, data: Dataset, wanted: int | None, rng: Generator
    ) -> Iterator[Delta]:
        """Yield ever better changes that make any input be answered as class `wanted`.

        None means as any class but its own.
        """


@dataclass(frozen=True, eq=False)
class Aim:
    """What a poisoner wants.

    Attributes:
        rate: share of the training rows it may change.
        wanted: class that is to be answered, None where any harm will do.
        source: class whose inputs are to be misread, None for all.
        victims: inputs (V, ...) that are to be misread, None where a class or trigger is meant.
    """

    rate: float
    wanted: int | None = None
    source: int | None = None
    victims: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Poisoned:
    """Training data after poisoning; `rows` are the changed positions, hidden from defences."""

    data: Dataset
    rows: Tensor


class PoisoningAttack(Method, ABC, Generic[T_contra]):
    """Change training data so that whoever trains on it gets a wrong model."""

    aims: ClassVar[Literal["accuracy", "victims"]] = "accuracy"
    """Whether the model is to err in general, or on `Aim.victims` alone."""

    @abstractmethod
    def poison(self, surrogate: T_contra, data: Dataset, aim: Aim, rng: Generator) -> Poisoned: ...


class BackdoorAttack(Method, ABC):
    """Poison training data so that a trigger, and only it, makes the model answer `aim.wanted`."""

    @abstractmethod
    def poison(self, data: Dataset, aim: Aim, rng: Generator) -> Poisoned: ...

    @abstractmethod
    def stamp(self, x: Tensor, rng: Generator) -> Tensor:
        """Test inputs with the trigger in them: (N, ...) -> (N, ...)."""


class MembershipAttack(Method, ABC, Generic[T_contra]):
    """Score rows: the higher, the more likely the target was trained on them."""

    @abstractmethod
    def score(
        self, target: T_contra, data: Dataset, background: Background, rng: Generator
    ) -> Tensor:
        """(N,) scores of the rows of `data`, in their order."""


class ReconstructionAttack(Method, ABC, Generic[T_contra]):
    """Recover training data from what the target shows: inversion, gradient leakage."""

    @abstractmethod
    def reconstruct(
        self, target: T_contra, labels: Tensor, like: Tensor, rng: Generator
    ) -> Iterator[Tensor]:
        """Yield ever better reconstructions, one per label, each of the shape of `like` (N, ...)."""


class ExtractionAttack(Method, ABC, Generic[T_contra]):
    """Build a copy of the target from its answers."""

    @abstractmethod
    def steal(
        self, target: T_contra, pool: Dataset, background: Background, rng: Generator
    ) -> Iterator[Scores]:
        """Yield ever better copies; `pool` holds inputs whose labels the attacker does not know."""


class Metric(Method, ABC, Generic[T_contra]):
    """Measure a property of the model on labelled data."""

    @abstractmethod
    def measure(self, target: T_contra, data: Dataset, rng: Generator) -> Iterator[Measurement]: ...


class Certifier(Method, ABC, Generic[T_contra]):
    """Prove a radius within which no input changes the answer."""

    measure: ClassVar[Literal["linf", "l2"]]
    holds_with: ClassVar[str] = "certainty"

    @abstractmethod
    def radius(self, target: T_contra, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        """(N,) radii; negative where the answer is wrong or the certifier abstains."""


class Explainer(Method, ABC, Generic[T_contra]):
    """Attribute an answer to the parts of the input."""

    @abstractmethod
    def attribute(self, target: T_contra, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        """Attributions of class `y`, of the shape of `x`."""


@dataclass(frozen=True, eq=False)
class Explored:
    """What a test generator found so far.

    Attributes:
        x: generated inputs (M, ...).
        rows: (M,) the seed row each came from.
        coverage: share of the criterion that is covered, of `units` units.
        units: how many units the criterion counts.
    """

    x: Tensor
    rows: Tensor
    coverage: float
    units: int


class TestGenerator(Method, ABC, Generic[T_contra]):
    """Search near seed inputs for ones on which models of the same task disagree."""

    @abstractmethod
    def explore(
        self, target: T_contra, peers: tuple[Scores, ...], seeds: Tensor, rng: Generator
    ) -> Iterator[Explored]: ...


class Scanner(Method, ABC):
    """Read a file without running it."""

    @abstractmethod
    def scan(self, path: Path) -> Iterator[Finding]: ...


@dataclass(frozen=True, eq=False)
class Suspicion:
    """Per-class outcome of a weight scan.

    Attributes:
        index: (K,) anomaly of each class.
        limit: an index above it is suspicious.
        tensors: what was recovered, such as masks (K, 1, H, W) and patterns (K, C, H, W).
    """

    index: Tensor
    limit: float
    tensors: Mapping[str, Tensor]


class WeightScan(Method, ABC, Generic[T_contra]):
    """Look for a trojan in a model with only a few clean rows at hand."""

    @abstractmethod
    def scan(self, target: T_contra, clean: Dataset, rng: Generator) -> Suspicion: ...


class Preprocessor(Method, ABC):
    """Change inputs before the model sees them."""

    @abstractmethod
    def apply(self, x: Tensor, rng: Generator) -> Tensor: ...


class OutputFilter(Method, ABC):
    """Change probabilities (N, K) before a caller sees them; rows still sum to one."""

    @abstractmethod
    def filter(self, probabilities: Tensor, rng: Generator) -> Tensor: ...


class TrainingDefence(Method, ABC):
    """Train a fresh module in place so that it withstands an attack."""

    @abstractmethod
    def train(
        self, module: nn.Module, recipe: TorchRecipe, data: Dataset, rng: Generator
    ) -> Iterator[Measurement]:
        """Yield one or more measurements per epoch; the engine may stop after any."""


class FittedDetector(Protocol):
    """Suspicion of each row, (N,): the higher, the more likely it is an attack."""

    def __call__(self, x: Tensor) -> Tensor: ...


class Detector(Method, ABC, Generic[T_contra]):
    """Tell attacked inputs from clean ones; thresholds are set by the engine on clean rows."""

    @abstractmethod
    def fit(self, target: T_contra, clean: Dataset, rng: Generator) -> FittedDetector: ...


class DataFilter(Method, ABC, Generic[T_contra]):
    """Find poisoned rows in training data, given the model that was trained on it."""

    @abstractmethod
    def suspect(self, target: T_contra, data: Dataset, rng: Generator) -> Tensor:
        """(N,) Boolean: rows to remove before training again."""


class Repair(Method, ABC):
    """Mend a trained module with a few clean rows; never sees trigger, poison or test data."""

    @abstractmethod
    def repair(
        self, module: nn.Module, recipe: TorchRecipe, clean: Dataset, rng: Generator
    ) -> Iterator[nn.Module]:
        """Yield mended modules; the last one is used. The given module stays as it was."""


class Aggregator(Method, ABC):
    """Combine the updates of federated clients: (C, P) -> (P,)."""

    @abstractmethod
    def aggregate(self, updates: Tensor) -> Tensor: ...


class FederatedAttack(Method, ABC):
    """Turn a malicious client's honest update into the one that it sends."""

    @abstractmethod
    def tamper(self, update: Tensor, clients: int, rng: Generator) -> Tensor: ...
