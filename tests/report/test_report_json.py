"""The JSON report comes back as what was written."""

import json as standard
import math
from dataclasses import replace

import pytest

from holdfast.core.errors import InputError
from holdfast.core.record import Measurement
from holdfast.report import json
from tests.report import samples
from tests.report.building import record


def test_what_is_written_is_read_back_equal() -> None:
    written = [samples.assessment(), samples.assessment(hard=True), samples.hostile()]
    assert json.load(json.render(written, "today")) == written


def test_types_and_infinities_survive_in_strict_json() -> None:
    params = {"whole": 3, "real": 3.0, "flag": True, "none": None, "text": "3", "far": math.inf}
    odd = Measurement("x", math.nan, 1, -math.inf, math.inf)
    made = record("trust/x", "Metric", (odd,), params=params)
    whole = samples.assessment()
    changed = replace(whole, outcomes=(replace(whole.outcomes[0], record=made),))
    text = json.render([changed])
    standard.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = json.load(text)[0].outcomes[0].record
    assert back is not None
    assert {k: (type(v), v) for k, v in back.params.items()} == {
        k: (type(v), v) for k, v in params.items()
    }
    assert math.isnan(back.measurements[0].value)
    assert (back.measurements[0].low, back.measurements[0].high) == (-math.inf, math.inf)


def test_a_verdict_over_the_same_records_is_the_same_text() -> None:
    assert json.render([samples.assessment()], "now") == json.render([samples.assessment()], "now")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a JSON report"),
        ("[]", "not a JSON report"),
        ('{"schema_version": 99, "assessments": []}', "schema version"),
        ('{"schema_version": 1, "assessments": [{"title": 3}]}', "damaged at 0"),
    ],
)
def test_other_files_are_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        json.load(text)
