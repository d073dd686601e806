"""Assessments as one HTML file that needs nothing else: no script, no network, no fonts.

What is shown comes from models and files that nobody trusts: everything is escaped, and the page
forbids itself scripts and any request by a content security policy.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from holdfast.core.assessment import Assessment
from holdfast.core.record import Record, Severity, Stage, Status
from holdfast.report import words
from holdfast.report.compare import Trend, compare
from holdfast.report.view import model

HERE = Path(__file__).parent / "templates"
_CONTROLS = [*range(9), 11, 12, *range(14, 32), *range(127, 160)]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_UNSEEN = dict.fromkeys([*_CONTROLS, *_DIRECTIONS], "\ufffd")
"""Characters that reverse or hide text: a file's name must not change how the rest is read."""


def render(assessments: Sequence[Assessment], tensor: Callable[[str], Tensor], made: str) -> str:
    """The report as HTML.

    Args:
        assessments: models in the order in which they are shown; several are compared.
        tensor: gives a tensor by the digest that a record keeps; KeyError or OSError if gone.
        made: when and by what the report was made; the only thing that is not in the assessments.

    Returns:
        The same text for the same arguments.
    """
    models = [model(assessment, n, tensor) for n, assessment in enumerate(assessments, 1)]
    return page(
        "report.html.jinja",
        models=models, comparison=compare(assessments), made=words.moment(made),
    )  # fmt: skip


def page(template: str, **values: object) -> str:
    """A template of this package as a whole page, everything in it escaped."""
    style = Markup((HERE / "report.css").read_text(encoding="utf-8"))  # noqa: S704  # our own file
    made = _environment().get_template(template)
    text = made.render(tool=words.tool_version(), style=style, **values)
    return text.translate(_UNSEEN).encode("utf-8", "replace").decode()  # no lone surrogates either


def excerpt(record: Record) -> str:
    """The check as it is written in a plan, to run it again."""
    lines = [f"- id: {_scalar(record.check)}", f"  method: {_scalar(record.method)}"]
    if record.threat.measure:
        lines.append(f"  measure: {_scalar(record.threat.measure)}")
    if record.threat.eps:
        lines.append(f"  eps: [{', '.join(f'{eps:g}' for eps in record.threat.eps)}]")
    if record.threat.queries is not None:
        lines.append(f"  queries: {record.threat.queries}")
    if record.threat.wanted is not None:
        lines.append(f"  wanted: {record.threat.wanted}")
    if record.given:
        lines.append("  params:")
        lines += [
            f"    {_scalar(name)}: {_scalar(record.params.get(name))}" for name in record.given
        ]
    return "\n".join(lines)


def _scalar(value: object) -> str:
    """A YAML scalar: bare where that is unambiguous, else as a quoted JSON string."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    bare = text and text[0].isalpha() and all(c.isalnum() or c in "_./-" for c in text)
    known = text.lower() in {"true", "false", "null", "yes", "no", "on", "off", "nan", "inf"}
    return text if bare and not known else json.dumps(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        words=words, Status=Status, Severity=Severity, Stage=Stage, Trend=Trend, excerpt=excerpt
    )
    return environment
