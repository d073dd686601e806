"""The report of the sample assessments, rendered once."""

import pytest

from holdfast.report import html
from tests.report import samples


@pytest.fixture(scope="session")
def page() -> str:
    """Before and after hardening, in one file."""
    return html.render(
        [samples.assessment(), samples.assessment(hard=True)], samples.tensor, "today"
    )


@pytest.fixture(scope="session")
def hostile_page() -> str:
    """A report on a model whose every name is an attack."""
    return html.render([samples.hostile()], samples.tensor, "today")
