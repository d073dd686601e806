"""Which pictures a record gets: by the tensors it kept and by the parts it was measured in."""

from collections.abc import Callable

from torch import Tensor

from holdfast.core.errors import HoldfastError
from holdfast.core.record import Record
from holdfast.report.figures import curves, groups, images
from holdfast.report.figures.svg import Picture


def pictures(record: Record, tensor: Callable[[str], Tensor], anchor: str) -> list[Picture]:
    """The pictures of one record, most telling first; none where nothing was kept.

    Args:
        record: what was measured.
        tensor: gives the tensor of a digest; KeyError, OSError or any of our errors: it is gone.
        anchor: prefix of ids, unique in the page.
    """
    kept: dict[str, Tensor] = {}
    for name, digest in record.tensors.items():
        try:
            kept[name] = tensor(digest).detach().cpu()
        except (KeyError, OSError, HoldfastError):
            continue
    drawn = [picture for picture in _drawn(record, kept) if picture is not None]
    return [picture.placed(f"{anchor}-p{spot}") for spot, picture in enumerate(drawn)]


def _drawn(record: Record, kept: dict[str, Tensor]) -> list[Picture | None]:
    names = kept.keys()
    curve = curves.security_curve(record)
    drawn: list[Picture | None] = [curve]
    shown = curves.secure_names(record) if curve else set()
    if record.kind == "Certifier" and "radius" in names:
        drawn.append(curves.certified_curve(kept["radius"], record))
        shown.add("certified accuracy")
    if {"fpr", "tpr"} <= names:
        drawn.append(curves.roc_curve(kept["fpr"], kept["tpr"], record))
    if record.kind == "ExtractionAttack":
        drawn.append(curves.theft_curve(record, kept.get("queries"), kept.get("agreement")))
        shown |= {"agreement", "copy accuracy"}
    if "index" in names:
        drawn.append(groups.anomaly_bars(kept["index"], record))
    if {"mask", "pattern"} <= names:
        drawn.append(images.triggers(kept["mask"], kept["pattern"], kept.get("index")))
    drawn += _examples(kept)
    drawn += groups.heat_maps(record)
    if "index" not in names:  # the bars of a weight scan show the same
        drawn += groups.dot_plots(record)
    drawn += curves.quantity_curves(record, shown)
    return drawn


def _examples(kept: dict[str, Tensor]) -> list[Picture | None]:
    """Galleries of rows before and after."""
    names = kept.keys()
    drawn: list[Picture | None] = []
    if "delta" in names:
        drawn += images.patch(kept)
    elif {"clean", "adversarial"} <= names:
        waves = kept["clean"].dim() == 2 and kept["clean"].shape[1] > images.LONGEST
        drawn.append(curves.waves(kept) if waves else images.attacked(kept))
    if {"clean", "generated"} <= names:
        drawn.append(images.disagreed(kept))
    drawn += [
        images.pairs(kept[left], kept[right], words, title, caption)
        for (left, right), (words, title, caption) in _PAIRS.items()
        if {left, right} <= names
    ]
    if {"clean", "attribution"} <= names:
        drawn.append(images.explained(kept["clean"], kept["attribution"]))
    return drawn


_PAIRS = {
    ("clean", "stamped"): (
        ("clean", "with trigger"),
        "The trigger",
        "Rows like those on the right are slipped into the training data. The attack success says "
        "whether the model learned to obey the trigger.",
    ),
    ("clean", "poisoned"): (
        ("clean", "poisoned"),
        "Poisoned training rows",
        "Left the clean row, right what is slipped into the training data. Would you notice?",
    ),
    ("truth", "reconstruction"): (
        ("truth", "recovered"),
        "What was recovered",
        "The more the right image resembles the left, the more the model gave away.",
    ),
}
