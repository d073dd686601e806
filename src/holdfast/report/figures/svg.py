"""Matplotlib drawings as inline SVG whose colours come from the page's style sheet.

Drawings are made with marker colours, which are then replaced by CSS custom properties: one SVG is
right on light paper, on dark screens and in print. Text stays text, so it can be read aloud and
searched. The same drawing gives the same bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

INK, MUTED, RULE = "#010101", "#020202", "#030303"
FIRST, SECOND, THIRD, BAD = "#040404", "#050505", "#060606", "#070707"
_CSS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    FIRST: "var(--series-1)",
    SECOND: "var(--series-2)",
    THIRD: "var(--series-3)",
    BAD: "var(--series-bad)",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "holdfast",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 2.2,
    "lines.linewidth": 2,
    "lines.markersize": 5,
}
PLACE = "\ue000"
"""Stands in ids for the place in the page, which is known only when the page is put together."""
WIDTH, HEIGHT = 5.4, 3.5
"""Inches; 72 units each, so that text has its real size at the width of a phone."""


@dataclass(frozen=True)
class Picture:
    """Something to look at, with what to read from it.

    Attributes:
        title: what is shown.
        html: the picture itself, already safe.
        caption: what to read from it, in a sentence or two.
        wide: whether it needs the full width of the column.
    """

    title: str
    html: Markup
    caption: str
    wide: bool = False

    def placed(self, anchor: str) -> "Picture":
        """The picture with ids that are unique to its place in the page."""
        placed = self.html.replace(PLACE, f"{anchor}-")
        return replace(self, html=Markup(placed))  # noqa: S704  # safe before, and anchors are ours


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT) -> Iterator[Figure]:
    """A new figure in the report's style; matplotlib's own settings are as before afterwards.

    Text is never read as TeX: names in it may come from an untrusted file.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield Figure(figsize=(width, height))


def plot(figure: Figure, left: float = 58, top: float = 26) -> Axes:
    """Axes with margins in units of the drawing: cheaper than letting a layout engine draw twice."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    right, bottom = 14, 44
    box = (left / width, bottom / height, (width - left - right) / width,
           (height - top - bottom) / height)  # fmt: skip
    return figure.add_axes(box)


def to_svg(figure: Figure, alt: str) -> Markup:
    """The figure as an `<svg>` element with the text alternative `alt`; call inside `drawing`."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(
        r'\b(d|transform|x|y|width|height|points)="[^"]*"', lambda found: _short(found[0]), body
    )
    for marker, colour in _CSS.items():
        body = body.replace(marker, colour)
    body = _own_ids(re.sub(r"\n\s*", "\n", body).strip())
    shape = box[1] if box else "0 0 100 100"
    inner = Markup(body)  # noqa: S704  # matplotlib escapes the texts of its SVG
    return Markup('<svg class="chart" role="img" viewBox="{}" aria-label="{}">{}</svg>').format(
        shape, alt, inner
    )


def percent(axes: Axes, axis: str = "y") -> None:
    """Write an axis of shares in percent, from 0 to 100."""
    found = axes.yaxis if axis == "y" else axes.xaxis
    found.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))


def decimals(axes: Axes, axis: str) -> None:
    """Write a logarithmic axis with plain numbers: 0.001, not powers of ten in TeX."""
    found = axes.yaxis if axis == "y" else axes.xaxis
    found.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    found.set_minor_locator(NullLocator())


def legend(axes: Axes, columns: int = 2) -> None:
    """A legend above the drawing, where it covers no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2,
                columnspacing=1.2)  # fmt: skip


def label(text: str, most: int = 34) -> str:
    """Text that fits into a drawing: names from files may be of any length."""
    clean = " ".join(text.split())
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def html_table(head: list[str], rows: list[list[str]], name: str) -> Markup:
    """A small table; the first cell of each row is its header. Cells are escaped."""
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in head)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            row[0], Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row[1:])
        )
        for row in rows
    )
    return scrolling(
        Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(top, body), name
    )


def scrolling(inner: Markup, name: str) -> Markup:
    """A container that scrolls by itself, reachable by keyboard."""
    return Markup('<div class="scroll" role="region" tabindex="0" aria-label="{}">{}</div>').format(
        name, inner
    )


def _short(attribute: str) -> str:
    """Coordinates with two decimals: a hundredth of a pixel is more than enough."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", attribute)


def _own_ids(body: str) -> str:
    """Keep only ids that are referred to, each behind a mark that `placed` makes unique."""
    used = set(re.findall(r"url\(#([^)]+)\)", body)) | set(re.findall(r'href="#([^"]+)"', body))
    body = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{PLACE}{found[1]}"' if found[1] in used else "",
        body,
    )
    body = re.sub(r"url\(#", f"url(#{PLACE}", body)
    return re.sub(r'(?:xlink:)?href="#', f'href="#{PLACE}', body)
