"""Galleries: rows of small images, with what the model answered and what was changed."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.image import imsave
from torch import Tensor

from holdfast.report.figures.svg import Picture, html_table

Pixels = npt.NDArray[np.uint8]
SHOWN = 6
"""Examples per gallery."""
LARGEST = 64
"""Pixels on the longer side of a stored image; larger ones are thinned out."""
LONGEST = 500
"""More values per row than this are a sound, not a table."""
_BLUE, _ORANGE = np.array([0, 114, 178]), np.array([213, 94, 0])


def is_images(x: Tensor) -> bool:
    """Whether rows are images: (N, 1 or 3, H, W) with more than one row and column."""
    return x.dim() == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 2 and len(x) > 0


def png(pixels: Pixels) -> str:
    """A data URI of (H, W, 3) or (H, W, 4) bytes."""
    step = max(1, -(-max(pixels.shape[:2]) // LARGEST))
    buffer, nothing = io.BytesIO(), cast(dict[str, str], {"Software": None})
    imsave(buffer, np.ascontiguousarray(pixels[::step, ::step]), format="png",
           metadata=nothing)  # fmt: skip
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def grey(x: Tensor, low: float = 0.0, high: float = 1.0) -> Pixels:
    """(C, H, W) between `low` and `high` as (H, W, 3) bytes."""
    scaled = ((x.double() - low) / ((high - low) or 1.0)).nan_to_num(0.0).clamp(0, 1)
    shown = scaled.expand(3, *x.shape[1:]).permute(1, 2, 0)
    return np.asarray((shown * 255).round().numpy(), dtype=np.uint8)


def covering(pixels: Pixels, mask: Tensor) -> Pixels:
    """The same (H, W, 3) bytes as (H, W, 4): clear where the mask covers nothing."""
    seen = mask.double().clamp(0, 1).reshape(-1, *mask.shape[-2:]).amax(0)
    alpha = (255 * seen.expand(pixels.shape[:2]).numpy()).round()
    return np.concatenate([pixels, alpha[..., None].astype(np.uint8)], axis=2)


def signed(x: Tensor, size: float) -> Pixels:
    """(C, H, W) around zero as (H, W, 4) bytes: orange above, blue below, clear at zero."""
    flat = (x.double().nan_to_num(0.0).sum(0) / (size or 1.0)).clamp(-1, 1).numpy()
    towards = np.where(flat[..., None] > 0, _ORANGE, _BLUE)
    mixed = np.concatenate([towards, 255 * np.abs(flat)[..., None]], axis=2)
    return np.asarray(mixed.round(), dtype=np.uint8)


def overlay(image: Tensor, heat: Tensor) -> Pixels:
    """Attribution over a pale image: orange speaks for the answer, blue against it."""
    base = 255 - (255 - grey(image, *bounds(image)).astype(np.float64)) * 0.35
    total = heat.double().nan_to_num(0.0).sum(0)
    flat = (total / (float(total.abs().max()) or 1.0)).numpy()
    weight = np.abs(flat)[..., None] ** 0.7
    towards = np.where(flat[..., None] > 0, _ORANGE, _BLUE)
    return np.asarray((base * (1 - weight) + towards * weight).round(), dtype=np.uint8)


def bounds(x: Tensor) -> tuple[float, float]:
    """Range to show: [0, 1], or wider where the values are."""
    known = x[x.isfinite()]
    if not known.numel():
        return 0.0, 1.0
    return min(0.0, float(known.min())), max(1.0, float(known.max()))


def _image(pixels: Pixels, alt: str, below: str) -> Markup:
    clear = Markup(' class="clear"') if pixels.shape[2] == 4 else ""
    return Markup('<span><img{} src="{}" alt="{}"><small>{}</small></span>').format(
        clear, png(pixels), alt, below
    )


def _gallery(examples: Sequence[Markup]) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(example) for example in examples)
    return Markup('<ul class="gallery">{}</ul>').format(items)


def attacked(tensors: Mapping[str, Tensor]) -> Picture | None:
    """Clean input, attacked input and magnified difference, with answer before and after."""
    clean, adversarial = tensors["clean"], tensors["adversarial"]
    if clean.shape != adversarial.shape or not len(clean):
        return None
    labels, answers = tensors.get("labels"), tensors.get("answers")
    said = [_name(labels, row, "clean") for row in range(len(clean))]
    heard = [_name(answers, row, "changed") for row in range(len(clean))]
    if not is_images(clean):
        return _changed_columns(clean, adversarial, said, heard, _title(labels, answers))
    change = (adversarial - clean).double()
    examples = []
    for row in range(min(SHOWN, len(clean))):
        size = float(change[row].sum(0).abs().max())
        zoom = f"×{1 / size:.0f}" if 0 < size < 0.67 else "change"
        low, high = bounds(clean)
        examples.append(
            _image(grey(clean[row], low, high), f"Example {row + 1}, clean: {said[row]}", said[row])
            + Markup('<b aria-hidden="true">→</b>')
            + _image(
                grey(adversarial[row], low, high),
                f"Example {row + 1}, attacked: answered {heard[row]}",
                heard[row],
            )
            + _image(signed(change[row], size), f"Example {row + 1}, change magnified", zoom)
        )
    return Picture(
        _title(labels, answers),
        _gallery(examples),
        "Left the clean input with its true class, then the changed input with the model's answer, "
        "then the change alone, magnified (orange brighter, blue darker).",
        wide=True,
    )


def pairs(
    left: Tensor, right: Tensor, names: tuple[str, str], title: str, caption: str
) -> Picture | None:
    """Two images side by side, row by row: truth and reconstruction, clean and stamped."""
    if left.shape != right.shape or not is_images(left):
        return None
    low, high = bounds(left)
    examples = [
        _image(grey(left[row], low, high), f"Example {row + 1}, {names[0]}", names[0])
        + Markup('<b aria-hidden="true">→</b>')
        + _image(grey(right[row], low, high), f"Example {row + 1}, {names[1]}", names[1])
        for row in range(min(SHOWN, len(left)))
    ]
    return Picture(title, _gallery(examples), caption, wide=True)


def explained(clean: Tensor, attribution: Tensor) -> Picture | None:
    """Inputs beside the parts that speak for and against the answer."""
    if clean.shape[2:] != attribution.shape[2:] or not is_images(clean) or attribution.dim() != 4:
        return None
    low, high = bounds(clean)
    examples = [
        _image(grey(clean[row], low, high), f"Example {row + 1}, input", "input")
        + _image(
            overlay(clean[row], attribution[row]),
            f"Example {row + 1}, parts that decided",
            "what decided",
        )
        for row in range(min(SHOWN, len(clean)))
    ]
    return Picture(
        "What the model looked at",
        _gallery(examples),
        "Orange parts speak for the answer, blue parts against it. Colour on the background instead "
        "of the object is a reason for doubt.",
        wide=True,
    )


def triggers(mask: Tensor, pattern: Tensor, index: Tensor | None) -> Picture | None:
    """The recovered trigger of each class, the most suspicious first."""
    if not is_images(pattern) or mask.dim() != 4 or len(mask) != len(pattern):
        return None
    order = list(range(len(pattern)))
    if index is not None and index.numel() == len(pattern):
        order = index.flatten().argsort(descending=True, stable=True).tolist()
    low, high = bounds(pattern)
    examples = [
        _image(
            grey(mask[k].clamp(0, 1) * pattern[k], low, high),
            f"Recovered trigger of class {k}",
            f"class {k}: {float(mask[k].sum()):.1f} px",
        )
        for k in order[:12]
    ]
    return Picture(
        "Recovered triggers",
        _gallery(examples),
        "The smallest change that turns any input into the class, most suspicious class first. "
        "A small, sharp pattern is what a backdoor looks like; a diffuse one is just a hard class.",
        wide=True,
    )


def patch(tensors: Mapping[str, Tensor]) -> list[Picture]:
    """A universal change, and inputs with it."""
    delta, mask = tensors["delta"], tensors.get("mask")
    single = delta.unsqueeze(0) if delta.dim() == 3 else delta
    found = []
    if is_images(single):
        low, high = bounds(single)
        if float(single.min()) < 0:  # a change to add, not a picture to paste
            shown = [signed(d, float(d.abs().max())) for d in single[:SHOWN]]
        else:
            shown = [grey(d, low, high) for d in single[:SHOWN]]
            if mask is not None and mask.shape[-2:] == single.shape[-2:]:
                shown = [covering(pixels, mask) for pixels in shown]
        examples = [_image(p, "The universal change alone", "the change") for p in shown]
        found.append(
            Picture(
                "One change for all inputs",
                _gallery(examples),
                "Made once for all inputs, so it can be printed or shared. The attack success says how "
                "often it works on inputs that it was not made from.",
                wide=True,
            )
        )
    if {"clean", "adversarial"} <= tensors.keys() and (seen := attacked(tensors)):
        found.append(seen)
    return found


def disagreed(tensors: Mapping[str, Tensor]) -> Picture | None:
    """Seeds and generated inputs on which models of the same task disagree."""
    clean, made = tensors["clean"], tensors["generated"]
    if clean.shape != made.shape or not is_images(clean):
        return None
    low, high = bounds(clean)
    examples = []
    for row in range(min(SHOWN, len(clean))):
        was = _name(tensors.get("labels"), row, "seed")
        now = _name(tensors.get("answers"), row, "generated")
        examples.append(
            _image(grey(clean[row], low, high), f"Example {row + 1}, seed: {was}", was)
            + Markup('<b aria-hidden="true">→</b>')
            + _image(grey(made[row], low, high), f"Example {row + 1}, generated: {now}", now)
        )
    return Picture(
        "Where models of the same task disagree",
        _gallery(examples),
        "Left the seed on which all agree, right what was made of it, with each model's answer, this "
        "model's first.",
        wide=True,
    )


def _title(labels: Tensor | None, answers: Tensor | None) -> str:
    """Only examples that are all answered wrongly are said to mislead."""
    if labels is None or answers is None or labels.shape != answers.shape:
        return "Inputs before and after"
    wrong = bool((labels != answers)[:SHOWN].all())
    return "What misled the model" if wrong and len(labels) else "Inputs before and after"


def _name(classes: Tensor | None, row: int, otherwise: str) -> str:
    """The class of a row; several numbers where a row has several: symbols, or models."""
    if classes is None or classes.dim() not in (1, 2) or row >= len(classes):
        return otherwise
    if classes.dim() == 1:
        return f"class {int(classes[row])}"
    return ", ".join(str(int(k)) for k in classes[row][:8])


def _changed_columns(
    clean: Tensor, adversarial: Tensor, said: list[str], heard: list[str], title: str
) -> Picture | None:
    """For tables: which columns were changed most, by how much."""
    if clean.dim() != 2 or clean.shape[1] > LONGEST:
        return None
    change = (adversarial - clean).double().abs()
    rows = []
    for row in range(min(SHOWN, len(clean))):
        top = [
            int(k) for k in change[row].topk(min(3, change.shape[1])).indices if change[row, k] > 0
        ]
        moves = [f"{k}: {float(clean[row, k]):.3g} → {float(adversarial[row, k]):.3g}" for k in top]
        touched = int((change[row] > 0).sum())
        rows.append([f"{said[row]} → {heard[row]}", str(touched), "; ".join(moves)])
    table = html_table(["answer", "columns changed", "largest changes"], rows, "Changed inputs")
    return Picture(
        title,
        table,
        "Columns are numbered from 0; values are as the model sees them, before and after.",
        wide=True,
    )
