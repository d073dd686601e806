"""Made-up outcomes of tests, defences and scanners, and of checks that were not run."""

import torch

from holdfast.core.record import (
    Measurement,
    Outcome,
    Property,
    Severity,
    Stage,
    Status,
    ThreatModel,
)
from tests.report.building import finding, images, outcome, record, share


def checks(hard: bool) -> list[Outcome]:
    """Everything that is not an attack."""
    gen, x = torch.Generator().manual_seed(3), images()
    names = ("brightness", "contrast", "rotation", "gaussian_noise", "blur")
    drop = (0.02, 0.03, 0.09, 0.07, 0.05)
    grid = tuple(
        share("accuracy", 0.96 - d * s, part=f"{name}={s}")
        for name, d in zip(names, drop, strict=True)
        for s in range(1, 6)
    )
    weather = record(
        "trust/corruptions",
        "Metric",
        (*grid, share("mean accuracy", 0.81)),
        params={"severities": 5},
    )
    turn = finding(
        "corruption",
        Severity.MEDIUM,
        "Rotated inputs are misread",
        "Half of the digits turned by 60 degrees are answered wrongly.",
        grid[14],
        remedies=("evasion/rse",),
    )
    fair = record(
        "trust/discrimination",
        "Metric",
        (
            *(
                share("positive rate", v, n, f"hand={g}")
                for g, v, n in (("left", 0.41, 61), ("right", 0.49, 536))
            ),
            *(
                share("true positive rate", v, n, f"age={g}")
                for g, v, n in (("<18", 0.71, 70), ("18-64", 0.93, 410), (">64", 0.88, 117))
            ),
            Measurement("equal opportunity difference", 0.22, 597, 0.11, 0.33),
        ),
        threat=ThreatModel("Answers"),
    )
    gap = finding(
        "unequal-opportunity",
        Severity.LOW,
        "Writers under 18 are recognised less often",
        "Their true positive rate is 22 points lower.",
        fair.measurements[2],
        fair.measurements[5],
        prop=Property.INTEGRITY,
        stage=Stage.DATA,
    )
    radius = torch.rand(100, generator=gen) * (0.9 if hard else 0.4) - 0.1
    smooth = record(
        "trust/randomized_smoothing",
        "Certifier",
        tuple(
            share("certified accuracy", float((radius >= e).double().mean()), 100, f"eps={e:g}")
            for e in (0.1, 0.25, 0.5)
        ),
        threat=ThreatModel("Scores", False, "l2", (0.1, 0.25, 0.5)),
        tensors={"radius": radius},
        params={"sigma": 0.25, "samples": 1000, "alpha": 0.001},
    )
    look = record(
        "trust/integrated_gradients",
        "Explainer",
        (
            Measurement("deletion score", 0.073, 100, 0.06, 0.09),
            share("randomisation check", 0.98, 100),
        ),
        tensors={"clean": x, "attribution": (x - 0.4) * torch.randn(x.shape, generator=gen)},
        params={"steps": 32},
        threat=ThreatModel("Gradients"),
    )
    flips = record(
        "poisoning/label_flip",
        "PoisoningAttack",
        tuple(
            share("accuracy after poisoning", v, part=f"rate={r:g}")
            for r, v in ((0.0, 0.963), (0.05, 0.95), (0.1, 0.93), (0.2, 0.86))
        ),
        params={"rate": 0.1},
    )
    jpeg = record(
        "evasion/jpeg",
        "Preprocessor",
        (
            share("clean accuracy", 0.94, 200),
            share("robust accuracy of the attack that knows it", 0.13, 200),
        ),
        params={"quality": 75},
    )
    squeeze = record(
        "evasion/feature_squeezing",
        "Detector",
        (
            Measurement("AUC", 0.83, 400, 0.79, 0.87),
            share("detection rate at 5 % false alarms", 0.44, 200),
        ),
        tensors={"fpr": torch.linspace(0, 1, 50), "tpr": torch.linspace(0, 1, 50) ** 0.4},
    )
    budgets = (0.05, 0.1, 0.2)
    trained = record(
        "evasion/pgd_training",
        "TrainingDefence",
        (
            share("clean accuracy", 0.945),
            *(
                share("robust accuracy", v, part=f"eps={e:g}")
                for e, v in zip(budgets, (0.85, 0.71, 0.36), strict=True)
            ),
            share("clean accuracy (undefended)", 0.963),
            *(
                share("robust accuracy (undefended)", v, part=f"eps={e:g}")
                for e, v in zip(budgets, (0.52, 0.12, 0.0), strict=True)
            ),
            Measurement("training time ratio", 6.1, 1),
        ),
        threat=ThreatModel("Gradients", False, "linf", budgets),
    )
    explored = record(
        "trust/deepxplore",
        "TestGenerator",
        (share("difference-inducing seeds", 0.42, 100), share("neuron coverage", 0.71, 96)),
        tensors={
            "clean": x,
            "generated": (x + 0.3 * torch.rand(x.shape, generator=gen)).clamp(0, 1),
            "labels": torch.arange(8),
            "answers": torch.randint(10, (8, 3), generator=gen),
        },
    )
    table = torch.rand(8, 14, generator=gen)
    moved = table.clone()
    moved[:, [2, 5]] += 0.1
    rows = record(
        "evasion/pgd.table",
        "EvasionAttack",
        (share("clean accuracy", 0.84), share("robust accuracy", 0.61, part="eps=0.1")),
        threat=ThreatModel("Gradients", False, "linf", (0.1,)),
        tensors={
            "clean": table,
            "adversarial": moved,
            "labels": torch.ones(8, dtype=torch.long),
            "answers": torch.zeros(8, dtype=torch.long),
        },
    )
    sound = torch.sin(torch.arange(4000) / 9.0).repeat(2, 1) * torch.linspace(0, 1, 4000)
    spoken = record(
        "evasion/audio_targeted",
        "EvasionAttack",
        (share("targets reached", 0.9, 10), share("targets reached by random noise", 0.0, 10)),
        threat=ThreatModel("Gradients", True),
        tensors={
            "clean": sound,
            "adversarial": sound + 0.02 * torch.randn(sound.shape, generator=gen),
            "answers": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        },
    )
    files = record(
        "supply/pickle_scan",
        "Scanner",
        (Measurement("files read", 3, 3), Measurement("suspicious files", 0 if hard else 1, 3)),
    )
    shell = (
        []
        if hard
        else [
            finding(
                "pickle-code",
                Severity.HIGH,
                "The file can run code when it is loaded",
                "Loading it calls os.system. It was not loaded.",
                where="digits-cnn.pt:archive/data.pkl@0x1f",
                prop=Property.INTEGRITY,
                stage=Stage.DEPLOYMENT,
                refs=("AML.T0010.003",),
                remedies=("supply/safetensors_scan",),
            ),
        ]
    )
    return [
        outcome("Environmental corruptions", weather, turn),
        outcome("Group fairness", fair, gap),
        outcome("Randomised smoothing", smooth),
        outcome("Integrated gradients", look),
        outcome("Label flipping", flips),
        outcome("JPEG compression", jpeg),
        outcome("Feature squeezing", squeeze),
        outcome("Projected gradient descent on a table", rows),
        outcome("Targeted audio attack", spoken),
        outcome("Adversarial training", trained),
        outcome("DeepXplore", explored),
        outcome("Pickle code scan", files, *shell),
        Outcome(
            "extraction/equation_solving",
            "extraction/equation_solving",
            "Equation solving",
            Status.NOT_APPLICABLE,
            "needs a linear model or one hidden layer; this one has four",
        ),
        Outcome(
            "trust/sdp",
            "trust/sdp",
            "Semidefinite relaxation",
            Status.NOT_APPLICABLE,
            "needs fully connected layers only",
        ),
        Outcome(
            "poisoning/federated_boosting",
            "poisoning/federated_boosting",
            "Federated boosting",
            Status.ERROR,
            "RuntimeError: the recipe gave loss nan in epoch 2",
        ),
    ]
