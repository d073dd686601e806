"""Which runner handles which kind of method."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from holdfast.core import kinds
from holdfast.core.method import Method
from holdfast.core.run import Run
from holdfast.engine.case import Case, Evidence

Runner = Callable[[Any, Case, Run], Evidence]

_RUNNERS: dict[type[Method], str] = {
    kinds.EvasionAttack: "curve",
    kinds.UniversalAttack: "universal",
    kinds.PoisoningAttack: "poisoning",
    kinds.BackdoorAttack: "backdoor",
    kinds.MembershipAttack: "membership",
    kinds.ReconstructionAttack: "reconstruct",
    kinds.ExtractionAttack: "extraction",
    kinds.Metric: "measure",
    kinds.Certifier: "certify",
    kinds.Explainer: "explain",
    kinds.TestGenerator: "explore",
    kinds.Scanner: "scan",
    kinds.WeightScan: "weightscan",
    kinds.Preprocessor: "preprocess",
    kinds.OutputFilter: "filter",
    kinds.TrainingDefence: "train",
    kinds.Detector: "detect",
    kinds.DataFilter: "datafilter",
    kinds.Repair: "repair",
    kinds.Aggregator: "federated",
    kinds.FederatedAttack: "federated",
}


def runner(cls: type[Method]) -> Runner:
    """The `assess` function for a method class; imported when it is first needed."""
    for kind, module in _RUNNERS.items():
        if issubclass(cls, kind):
            return cast(Runner, import_module(f"holdfast.engine.{module}").assess)
    raise TypeError(f"{cls.__name__} is of no known kind")
