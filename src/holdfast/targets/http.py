"""Models behind an HTTP endpoint: the Open Inference Protocol, version 2, or a small JSON form.

Open Inference Protocol (https://github.com/kserve/open-inference-protocol): GET the model's address
for its metadata, POST {"inputs": [{"name", "shape", "datatype", "data"}]} to address/infer.
Small form: POST {"inputs": rows} to the address, which answers {"probabilities": rows} or
{"labels": [...]}.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeGuard
from urllib.parse import urlsplit, urlunsplit

import torch
from torch import Tensor

from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.targets.fetch import Limits, Refused, bad, check_url, fetch, short

Meaning = Literal["labels", "probabilities", "logits", "undecided"]
FLOOR = 1e-12
"""Probabilities are clipped here before the logarithm."""
SLACK = 1e-3
"""How far the sum of a row of probabilities may be from one."""
FLOATS = ("FP16", "FP32", "FP64")
WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


@dataclass(frozen=True)
class Endpoint:
    """An address and how to talk to it, settled once when it is opened.

    Attributes:
        url: address of the model.
        classes: how many there are.
        protocol: which of the two forms it speaks.
        meaning: what its numbers are.
        reason: why they are taken to be that.
        input: name of the input tensor (Open Inference Protocol).
        datatype: type of the input tensor.
        row: shape of one row as the model wants it, None for the data's own.
        output: name of the output tensor that is read.
        metadata: what the endpoint said of itself, as JSON.
        limits: patience.
    """

    url: str
    classes: int
    protocol: Literal["Open Inference Protocol", "JSON"]
    meaning: Meaning = "undecided"
    reason: str = ""
    input: str = ""
    datatype: str = "FP32"
    row: tuple[int, ...] | None = None
    output: str = ""
    metadata: str = ""
    limits: Limits = field(default_factory=Limits)

    @property
    def facts(self) -> Mapping[str, str]:
        """What was settled, in words."""
        return {
            "address": self.url,
            "protocol": self.protocol,
            "outputs": f"{self.meaning}, {self.reason}",
        }

    @property
    def digest(self) -> str:
        """sha256 of address and metadata; the weights are not seen."""
        return hashlib.sha256(repr((self.url, self.metadata)).encode()).hexdigest()

    def ask(self, x: Tensor) -> Tensor:
        """The model's numbers as they are: (N,) class indices, or (N, K) float32."""
        rows = x.detach().cpu().float()
        if self.row is not None:
            rows = rows.reshape(len(rows), *self.row)
        raw = self._infer(rows) if self.protocol != "JSON" else self._post(rows)
        return _labels(raw, len(x), self.classes) if self.meaning == "labels" else self._rows(raw)

    def _infer(self, rows: Tensor) -> Tensor:
        """One request of the Open Inference Protocol; data go flat, in row-major order."""
        sent = {
            "name": self.input, "shape": list(rows.shape), "datatype": self.datatype,
            "data": rows.flatten().tolist(),
        }  # fmt: skip
        told = fetch(_join(self.url, "infer"), self.limits, {"inputs": [sent]})
        outputs = told.get("outputs") if isinstance(told, dict) else None
        tensors = [o for o in outputs if isinstance(o, dict)] if isinstance(outputs, list) else []
        found = next((o for o in tensors if o.get("name") == self.output), None)
        if found is None:
            raise bad(f"an answer must hold the output {self.output!r}", short(told))
        shape, values = found.get("shape"), _numbers(found.get("data"))
        if not _is_shape(shape) or math.prod(shape) != values.numel() or shape[0] != len(rows):
            raise bad(
                f"the output {self.output!r} must hold one row for each of {len(rows)} inputs",
                f"shape {short(shape)} and {values.numel()} values",
            )
        return values.reshape(shape)

    def _post(self, rows: Tensor) -> Tensor:
        """One request of the small JSON form."""
        told = fetch(self.url, self.limits, {"inputs": rows.tolist()})
        key = "labels" if self.meaning == "labels" else "probabilities"
        if not isinstance(told, dict) or key not in told:
            raise bad(f"an answer must hold {key!r}", short(told))
        values = _numbers(told[key])
        if values.ndim == 0 or len(values) != len(rows):
            raise bad(
                f"{key!r} must hold one entry for each of {len(rows)} inputs",
                f"shape {tuple(values.shape)}",
            )
        return values

    def _rows(self, raw: Tensor) -> Tensor:
        """(N, K) finite numbers, and probabilities where they are said to be."""
        if raw.ndim != 2 or raw.shape[1] != self.classes:
            raise bad(
                f"scores must have shape (N, {self.classes}), one column a class",
                tuple(raw.shape),
            )
        if self.meaning == "probabilities" and not _is_probable(raw):
            sums = raw.sum(1)
            raise bad(
                "probabilities must lie in [0, 1] and each row must sum to 1",
                f"values {raw.min():.4g} to {raw.max():.4g}, sums {sums.min():.4g} to "
                f"{sums.max():.4g}",
            )
        return raw.float()


@dataclass(frozen=True, eq=False)
class HttpLabels:
    """An endpoint that shows decisions only."""

    endpoint: Endpoint
    space: Box = field(default_factory=Box)

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,)."""
        if not len(x):
            return torch.zeros(0, dtype=torch.long, device=x.device)
        return self.endpoint.ask(x).to(x.device)


@dataclass(frozen=True, eq=False)
class HttpScores:
    """An endpoint that shows probabilities or logits."""

    endpoint: Endpoint
    space: Box = field(default_factory=Box)

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) logits, or logarithms of the probabilities."""
        if not len(x):
            return torch.zeros(0, self.endpoint.classes, device=x.device)
        raw = self.endpoint.ask(x)
        logs = raw.clamp(min=FLOOR).log() if self.endpoint.meaning == "probabilities" else raw
        return logs.to(x.device)

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score over axis 1."""
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,)."""
        return self.decode(self.scores(x))


HttpClassifier = HttpLabels | HttpScores


def open_http(
    url: str, space: Box, classes: int, probe: Tensor, limits: Limits | None = None
) -> HttpClassifier:
    """Ask an endpoint what it is, try it on the rows `probe`, and settle how it is read.

    Numbers that the metadata call neither probabilities nor logits are taken for probabilities
    when every probe row lies in [0, 1] and sums to 1, and for logits otherwise, from then on.

    Raises:
        InputError: the address cannot be used, or the model is for other inputs or classes.
        TargetError: the endpoint cannot be reached, or answers what no classifier may.
    """
    limits = limits or Limits()
    check_url(url)
    told = _metadata(url, limits)
    if told is not None:
        endpoint = _read_metadata(url, told, classes, probe, limits)
    else:
        endpoint = _read_json_form(Endpoint(url, classes, "JSON", limits=limits), probe)
    raw = endpoint.ask(probe)
    if endpoint.meaning == "undecided":
        meaning: Meaning = "probabilities" if _is_probable(raw) else "logits"
        rows = f"as {len(probe)} probe rows {'sum' if meaning == 'probabilities' else 'do not sum'}"
        endpoint = replace(endpoint, meaning=meaning, reason=f"{rows} to 1")
    return (HttpLabels if endpoint.meaning == "labels" else HttpScores)(endpoint, space)


def _metadata(url: str, limits: Limits) -> dict[str, Any] | None:
    """The metadata of the Open Inference Protocol; None where the endpoint has none.

    An address with /v2/ in it must have them; any other one may speak the small JSON form.
    """
    must = "/v2/" in urlsplit(url).path
    try:
        told = fetch(url, limits)
    except Refused:
        if must:
            raise
        return None
    if isinstance(told, dict) and all(isinstance(told.get(k), list) for k in ("inputs", "outputs")):
        return told
    if must:
        raise bad("metadata must list inputs and outputs", short(told))
    return None


def _join(url: str, verb: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{verb}"))


def _read_metadata(
    url: str, told: dict[str, Any], classes: int, probe: Tensor, limits: Limits
) -> Endpoint:
    """Which tensors to send and to read, from the metadata."""
    inputs, outputs = (_tensors(told, key) for key in ("inputs", "outputs"))
    if len(inputs) != 1 or inputs[0]["datatype"] not in FLOATS:
        raise InputError(
            f"{url} must take one tensor of floats",
            got=short([(t["name"], t["datatype"]) for t in inputs]),
            fix="serve a model of one input of type FP32",
        )
    row = tuple(inputs[0]["shape"][1:])
    if all(size > 0 for size in row) and math.prod(row) != probe[0].numel():
        raise InputError(
            f"{url} takes rows of shape {row}",
            got=f"data with rows of shape {tuple(probe.shape[1:])}",
            fix="give the data set that the model is for",
        )
    floats = [t for t in outputs if t["datatype"] in FLOATS and len(t["shape"]) == 2]
    whole = [t for t in outputs if t["datatype"] in WHOLE]
    if not floats and not whole:
        raise InputError(
            f"{url} must give (N, {classes}) floats or (N,) whole numbers",
            got=short([(t["name"], t["datatype"], t["shape"]) for t in outputs]),
            fix="serve a classifier",
        )
    output = (floats or whole)[0]
    if floats and output["shape"][1] not in (-1, classes):
        raise InputError(
            f"{url} has {output['shape'][1]} classes",
            got=f"data with {classes}",
            fix="give the data set that the model is for",
        )
    meaning: Meaning = "undecided" if floats else "labels"
    if floats and "prob" in output["name"].lower():
        meaning = "probabilities"
    elif floats and "logit" in output["name"].lower():
        meaning = "logits"
    return Endpoint(
        url, classes, "Open Inference Protocol", meaning,
        reason=f"as its metadata call the output {output['name']!r} of type {output['datatype']}",
        input=inputs[0]["name"], datatype=inputs[0]["datatype"],
        row=row if all(size > 0 for size in row) else None,
        output=output["name"], metadata=json.dumps(told, sort_keys=True), limits=limits,
    )  # fmt: skip


def _tensors(told: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Names, types and shapes of the inputs or outputs, checked."""
    for tensor in told[key]:
        named = isinstance(tensor, dict) and all(
            isinstance(tensor.get(k), str) for k in ("name", "datatype")
        )
        if not named or not _is_shape(tensor.get("shape"), free=True):
            raise bad(f"every one of {key} must have a name, datatype and shape", short(tensor))
    tensors: list[dict[str, Any]] = told[key]
    return tensors


def _read_json_form(endpoint: Endpoint, probe: Tensor) -> Endpoint:
    """Whether the small JSON form gives probabilities or labels: the first answer says so."""
    told = fetch(endpoint.url, endpoint.limits, {"inputs": probe.detach().cpu().tolist()})
    for meaning in ("probabilities", "labels"):
        if isinstance(told, dict) and meaning in told:
            return replace(endpoint, meaning=meaning, reason="as its first answer calls them")
    raise bad("an answer must hold 'probabilities' or 'labels'", short(told))


def _numbers(data: object) -> Tensor:
    """Finite numbers of any nesting, in double precision, which holds every index exactly."""
    try:
        values = torch.tensor(data, dtype=torch.float64)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise bad("an answer must hold numbers only", short(data)) from error
    if not values.isfinite().all():
        raise bad("an answer must hold finite numbers", "NaN or infinity")
    return values


def _labels(values: Tensor, rows: int, classes: int) -> Tensor:
    """(N,) class indices, checked."""
    if values.shape not in ((rows,), (rows, 1)):
        raise bad(f"labels must have shape ({rows},)", tuple(values.shape))
    flat = values.flatten()
    if (flat != flat.round()).any() or flat.min() < 0 or flat.max() >= classes:
        raise bad(
            f"labels must be whole numbers from 0 to {classes - 1}",
            f"{flat.min():g} to {flat.max():g}",
        )
    return flat.long()


def _is_probable(raw: Tensor) -> bool:
    """Whether every row is a distribution."""
    inside = raw.min() >= -1e-6 and raw.max() <= 1 + 1e-6
    return bool(inside and ((raw.sum(1) - 1).abs() <= SLACK).all())


def _is_shape(shape: object, free: bool = False) -> TypeGuard[list[int]]:
    """A list of axis sizes of which the first may be anything; -1 stands for a free one."""
    low = -1 if free else 0
    return (
        isinstance(shape, list)
        and len(shape) > 0
        and all(isinstance(s, int) and not isinstance(s, bool) and s >= low for s in shape)
    )
