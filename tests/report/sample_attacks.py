"""Made-up outcomes of attacks on inputs, privacy, models and training."""

import torch

from holdfast.core.record import (
    Measurement,
    Outcome,
    Property,
    Severity,
    Stage,
    ThreatModel,
)
from tests.report.building import finding, images, outcome, record, share


def evasion(hard: bool) -> list[Outcome]:
    """Attacks on inputs."""
    x, gen = images(), torch.Generator().manual_seed(1)
    noise = (torch.rand(x.shape, generator=gen) - 0.5).sign() * 0.1
    clean = share("clean accuracy", 0.945 if hard else 0.963)
    budgets = (0.02, 0.05, 0.1, 0.2, 0.3)
    curve = (0.91, 0.85, 0.71, 0.36, 0.11) if hard else (0.86, 0.52, 0.12, 0.0, 0.0)
    points = tuple(
        share("robust accuracy", v, part=f"eps={e:g}") for e, v in zip(budgets, curve, strict=True)
    )
    quiet = tuple(
        share("accuracy under random noise", v, part=f"eps={e:g}")
        for e, v in zip(budgets, (0.96, 0.96, 0.955, 0.94, 0.9), strict=True)
    )
    kept = {
        "clean": x,
        "adversarial": (x + noise).clamp(0, 1),
        "labels": torch.arange(8),
        "answers": torch.tensor([8, 7, 1, 5, 9, 3, 8, 1]),
        "radius": torch.rand(8, generator=gen),
    }
    white = ThreatModel("Gradients", False, "linf", budgets)
    pgd = record(
        "evasion/pgd.linf",
        "EvasionAttack",
        (clean, *points, *quiet),
        threat=white,
        tensors=kept,
        params={"steps": 40, "step_size": 2.5, "random_start": True},
        given=("steps",),
    )
    found = (
        []
        if hard
        else [
            finding(
                "robust-accuracy",
                Severity.CRITICAL,
                "Tiny changes mislead the model",
                "At eps = 0.1, too small to notice, 88 % of the inputs that it answered correctly are "
                "answered wrongly. Random noise of the same size costs less than 1 %.",
                points[2],
                quiet[2],
                clean,
                refs=("AML.T0043", "OWASP ML01:2023", "NIST AI 100-2: 2.2"),
                remedies=("evasion/pgd_training", "evasion/trades"),
                command="holdfast harden digits-cnn.pt --remedy evasion/pgd_training",
            ),
        ]
    )
    hop = record(
        "evasion/hop_skip_jump.l2",
        "EvasionAttack",
        (
            clean,
            *(
                share("robust accuracy", v, 40, f"eps={e:g}")
                for e, v in zip((0.25, 0.5, 1.0, 2.0), (0.9, 0.8, 0.5, 0.1), strict=True)
            ),
            Measurement("median distance", 0.83, 38, 0.61, 1.2, "quartiles"),
        ),
        threat=ThreatModel("Answers", False, "l2", (0.25, 0.5, 1.0, 2.0), 2000),
        params={"steps": 64, "initial_queries": 100},
    )
    patch = x.clone()
    patch[:, :, :3, :3] = torch.rand(1, 1, 3, 3, generator=gen)
    mask = torch.zeros(1, 8, 8)
    mask[:, :3, :3] = 1
    success = share("attack success", 0.38 if hard else 0.62, 400)
    universal = record(
        "evasion/patch",
        "UniversalAttack",
        (clean, success, share("success of a random patch", 0.05, 400)),
        threat=ThreatModel("Gradients", True),
        params={"share": 0.14, "steps": 200},
        tensors={
            "delta": patch[0],
            "mask": mask,
            "clean": x,
            "adversarial": patch,
            "labels": torch.arange(8),
            "answers": torch.full((8,), 3),
        },
    )
    more = (
        []
        if hard
        else [
            finding(
                "universal-patch",
                Severity.HIGH,
                "One printed patch works on most inputs",
                "A patch of 3 by 3 pixels makes the model answer 3, whatever it is shown.",
                success,
                refs=("AML.T0043.003",),
                remedies=("evasion/pgd_training",),
            ),
        ]
    )
    return [
        outcome("Projected gradient descent", pgd, *found),
        outcome("HopSkipJump", hop),
        outcome("Adversarial patch", universal, *more),
    ]


def privacy(hard: bool) -> list[Outcome]:
    """Attacks on what the model knows of its data."""
    fpr = torch.cat([torch.zeros(1), torch.logspace(-3, 0, 60)])
    tpr = fpr ** (0.96 if hard else 0.55)
    tpr[0] = 0
    auc = Measurement(
        "AUC", 0.52 if hard else 0.71, 1200, 0.49 if hard else 0.68, 0.55 if hard else 0.74
    )
    low = share("TPR at 1 % FPR", 0.012 if hard else 0.081, 600)
    lira = record(
        "privacy/lira",
        "MembershipAttack",
        (auc, low, share("null control TPR at 1 % FPR", 0.01, 600)),
        threat=ThreatModel("Scores", background="has other rows of the same kind"),
        params={"shadows": 16, "offline": True},
        tensors={"fpr": fpr, "tpr": tpr},
        notes=("16 shadow models; more would sharpen the low end of the curve.",),
    )
    found = (
        []
        if hard
        else [
            finding(
                "membership",
                Severity.HIGH,
                "Training rows can be named",
                "8 % of the training rows are recognised with one false alarm in a hundred.",
                low,
                auc,
                prop=Property.PRIVACY,
                stage=Stage.TRAINING,
                refs=("AML.T0024.000", "OWASP ML04:2023"),
                remedies=("privacy/dp_sgd", "privacy/truncate"),
                command="holdfast harden digits-cnn.pt --remedy privacy/dp_sgd",
            ),
        ]
    )
    gen, x = torch.Generator().manual_seed(2), images()
    blur = (x + 0.25 * torch.randn(x.shape, generator=gen)).clamp(0, 1)
    leak = record(
        "privacy/gradient_leakage",
        "ReconstructionAttack",
        (Measurement("PSNR", 14.2, 8, 12.9, 15.5, unit="dB"), share("recovered", 0.5, 8)),
        threat=ThreatModel("SharedGradients"),
        params={"steps": 300},
        tensors={"truth": x, "reconstruction": blur},
    )
    seen = finding(
        "gradient-leakage",
        Severity.MEDIUM,
        "Shared updates show the training images",
        "Only where the model is trained federated, with single rows per update.",
        leak.measurements[0],
        prop=Property.PRIVACY,
        stage=Stage.TRAINING,
        remedies=("privacy/secure_aggregation",),
    )
    return [
        outcome("Likelihood-ratio attack", lira, *found),
        outcome("Deep leakage from gradients", leak, seen),
    ]


def tampering(hard: bool) -> list[Outcome]:
    """Stolen models and hidden triggers."""
    gen, x = torch.Generator().manual_seed(3), images()
    asked = torch.tensor([50, 100, 250, 500, 1000, 2000])
    copy = torch.tensor([0.41, 0.55, 0.72, 0.84, 0.9, 0.93])
    agree = share("agreement", 0.93, part="queries=2000")
    stolen = record(
        "extraction/copycat",
        "ExtractionAttack",
        (agree, share("copy accuracy", 0.91)),
        threat=ThreatModel("Answers"),
        params={"epochs": 20},
        tensors={"queries": asked, "agreement": copy},
    )
    stamped = x.clone()
    stamped[:, :, 6:, 6:] = 1
    bad = share("attack success", 0.98, 530)
    nets = record(
        "backdoor/badnets",
        "BackdoorAttack",
        (
            share("clean accuracy", 0.958),
            bad,
            share("success on a clean model", 0.01, 530),
            *(
                share("attack success by poisoned share", v, 530, f"rate={r:g}")
                for r, v in ((0.005, 0.3), (0.01, 0.71), (0.05, 0.97))
            ),
        ),
        threat=ThreatModel("Nothing", True, background="adds 1 % of the training rows"),
        tensors={"clean": x, "stamped": stamped},
        params={"size": 2, "value": 1.0},
    )
    index = torch.tensor([0.4, 0.9, 0.2, 1.1, 0.7, 0.3, 0.8, 1.6 if hard else 4.3, 0.5, 0.6])
    masks = torch.rand(10, 1, 8, 8, generator=gen) * 0.5
    masks[7] = 0
    masks[7, 0, 6:, 6:] = 1
    cleanse = record(
        "backdoor/neural_cleanse",
        "WeightScan",
        (
            *(
                Measurement("anomaly index", float(v), 1, part=f"class={k}")
                for k, v in enumerate(index)
            ),
            Measurement("anomaly limit", 2.0, 1),
        ),
        threat=ThreatModel("Weights"),
        params={"steps": 300, "limit": 2.0},
        tensors={"index": index, "mask": masks, "pattern": torch.ones(10, 1, 8, 8)},
    )
    trojan = (
        []
        if hard
        else [
            finding(
                "trojan-suspected",
                Severity.CRITICAL,
                "Class 7 has a hidden trigger",
                "Four corner pixels turn any input into a 7; no other class is reached so cheaply.",
                cleanse.measurements[7],
                where="class 7",
                prop=Property.INTEGRITY,
                stage=Stage.TRAINING,
                refs=("AML.T0018", "OWASP ML10:2023"),
                remedies=("backdoor/fine_pruning", "backdoor/anp"),
                command="holdfast harden digits-cnn.pt --remedy backdoor/fine_pruning",
            ),
        ]
    )
    note = finding(
        "copy-cost",
        Severity.INFO,
        "A copy that agrees on 93 % costs 2,000 queries",
        "",
        agree,
        prop=Property.CONFIDENTIALITY,
        stage=Stage.DEPLOYMENT,
        remedies=("extraction/query_quota",),
    )
    return [
        outcome("Copycat CNN", stolen, note),
        outcome("BadNets", nets),
        outcome("Neural Cleanse", cleanse, *trojan),
    ]
