"""One door to all data: by name, or by path with the format told from the file."""

from difflib import get_close_matches
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.data.arrays import open_arrays
from holdfast.data.idx import is_idx, open_idx
from holdfast.data.images import open_images
from holdfast.data.named import NAMED
from holdfast.data.split import Split
from holdfast.data.tables import open_table

KNOWN = "IDX files, folders or zips of images, .npz, .csv, .csv.gz and .parquet"


def open_data(
    spec: str, *, label: str | None = None, sensitive: tuple[str, ...] = (), seed: int = 0
) -> Split:
    """Open a data set as a training and a test part.

    Args:
        spec: a name (`digits`, `breast-cancer`), or the path of IDX files, of a folder or zip of
            images, of an .npz archive, or of a CSV or Parquet table. A name wins over a file of
            the same name; write `./digits` for the file.
        label: column of a table that holds the class.
        sensitive: columns of a table that become groups.
        seed: shuffles sources that have no test part of their own; two thirds become training rows.

    Raises:
        InputError: nothing there, or what is there cannot be used.
        MissingExtra: a table, and pandas is not installed.
    """
    table = spec.removesuffix(".gz").endswith((".csv", ".parquet")) and spec not in NAMED
    if not table and (label is not None or sensitive):
        raise InputError(
            "only tables have label and sensitive columns", got=spec, fix="leave the columns out"
        )
    if spec in NAMED:
        return NAMED[spec](seed)
    path = Path(spec).expanduser()
    if not path.exists():
        raise _missing(spec, path)
    if table:
        return open_table(path, label, sensitive, seed)
    if path.suffix == ".npz":
        return open_arrays(path, seed)
    if path.suffix == ".zip":
        return open_images(path, seed)
    if is_idx(path):
        return open_idx(path, seed)
    if path.is_dir():
        return open_images(path, seed)
    raise InputError("the data is in no known format", got=spec, fix=f"known are {KNOWN}")


def _missing(spec: str, path: Path) -> InputError:
    near = get_close_matches(spec, NAMED, n=2, cutoff=0.4)
    if "/" in spec or path.suffix:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, beside, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "check the path"
        return InputError("no data set is there", got=spec, fix=hint)
    names = " or ".join(near) if near else ""
    hint = f"did you mean {names}?" if near else f"names are {', '.join(NAMED)}; else give a path"
    return InputError("no data set has this name", got=spec, fix=hint)
