"""Folders and zips of images that the tests write, and the real zips."""

import io
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from holdfast.core.errors import InputError
from holdfast.data import images, open_data


def _encode(values: torch.Tensor, form: str = "PNG", mode: str | None = None) -> bytes:
    """(H, W) or (H, W, 3) bytes as an image file."""
    image = Image.fromarray(values.to(torch.uint8).numpy())
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, form)
    return out.getvalue()


def _grey(value: int, shape: tuple[int, ...] = (4, 3)) -> torch.Tensor:
    return torch.full(shape, value)


def _lay(root: Path, files: dict[str, bytes], as_zip: bool = False) -> str:
    """Write files as a folder or a zip, and tell where."""
    if as_zip:
        root.mkdir(exist_ok=True)
        with zipfile.ZipFile(root / "set.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return str(root / "set.zip")
    for name, content in files.items():
        path = root / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(root / "set")


@pytest.mark.parametrize("as_zip", [False, True])
def test_folders_name_the_classes_in_alphabetical_order(tmp_path, as_zip: bool) -> None:
    files = {f"{name}/{i}.png": _encode(_grey(10 * k + i)) for k, name in enumerate(("owl", "ant"))
             for i in range(3)}  # fmt: skip
    split = open_data(_lay(tmp_path, files, as_zip))
    assert split.train.classes == ("ant", "owl")
    assert (len(split.train), len(split.test)) == (4, 2)
    for part in (split.train, split.test):
        values = (part.tensor * 255).round().amax((1, 2, 3))
        assert torch.equal((values < 10).long(), part.y)  # owls are 0 to 2, ants 10 to 12
        assert part.tensor.shape[1:] == (1, 4, 3)


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("above", ["", "birds/"])
def test_train_and_test_folders_decide_the_parts(tmp_path, as_zip: bool, above: str) -> None:
    picture = {v: _encode(_grey(v, (8, 8, 3)), "JPEG") for v in (200, 50)}
    files = {f"{above}{part}/{name}/{i}.jpg": picture[v]
             for part, v in (("train", 200), ("test", 50)) for name in "ab" for i in (0, 1)}  # fmt: skip
    split = open_data(_lay(tmp_path, files, as_zip))
    assert torch.equal(split.train.tensor, torch.full((4, 3, 8, 8), 200 / 255))
    assert torch.equal(split.test.tensor, torch.full((4, 3, 8, 8), 50 / 255))
    assert split.train.y.tolist() == split.test.y.tolist() == [0, 0, 1, 1]


def test_channels_keep_their_order_and_pixels_their_place(tmp_path) -> None:
    picture = torch.arange(2 * 3 * 3).view(2, 3, 3)
    files = {f"{name}/{i}.png": _encode(picture) for name in "ab" for i in range(2)}
    split = open_data(_lay(tmp_path, files))
    assert torch.equal(split.train.tensor[0], picture.permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("RGBA", 3), ("P", 3)])
def test_other_modes_become_grey_or_colour(tmp_path, mode: str, channels: int) -> None:
    picture = _encode(_grey(255, (4, 3, 3)), mode=mode)
    split = open_data(_lay(tmp_path, {f"{n}/{i}.png": picture for n in "ab" for i in range(2)}))
    assert torch.equal(split.train.tensor, torch.ones(3, channels, 4, 3))


def test_grey_images_among_colour_ones_get_three_equal_channels(tmp_path) -> None:
    files = {"a/1.png": _encode(_grey(9)), "a/2.png": _encode(_grey(9)),
             "b/1.png": _encode(_grey(9, (4, 3, 3)))}  # fmt: skip
    split = open_data(_lay(tmp_path, files))
    assert torch.equal(split.train.tensor, torch.full((2, 3, 4, 3), 9 / 255))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"notes.txt": b"hello"}, "no images"),
        ({"a/x.png": b"junk", "b/y.png": b"junk"}, "x.png cannot be read as an image"),
        ({"a/1.png": _encode(_grey(1)), "b/1.png": _encode(_grey(1))[:45]}, "b/1.png cannot be"),
        (
            {"a/1.png": _encode(_grey(1)), "b/1.png": _encode(_grey(1, (5, 6)))},
            "b/1.png of 6 x 5 pixels beside a/1.png of 3 x 4",
        ),
        ({"x.png": _encode(_grey(1)), "a/1.png": _encode(_grey(1))}, "the folder of its class"),
        ({"train/1.png": _encode(_grey(1)), "test/1.png": _encode(_grey(1))}, "of its class"),
        ({"train/a/1.png": _encode(_grey(1)), "val/a/1.png": _encode(_grey(1))}, "side by side"),
        ({f"a/{i}.png": _encode(_grey(i)) for i in range(4)}, "one class only, 'a'"),
        ({"a/1.png": _encode(_grey(1)), "b/1.png": _encode(_grey(2))}, "at least 3 rows: got 2"),
        ({"a/1.png": _encode(_grey(1), mode="I;16"), "b/1.png": b""}, "8 bits a channel"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_zip", [False, True])
def test_a_layout_that_cannot_be_used_is_refused(tmp_path, files, says: str, as_zip: bool) -> None:
    with pytest.raises(InputError, match=says):
        open_data(_lay(tmp_path, files, as_zip))


def test_classes_called_train_and_car_are_classes(tmp_path) -> None:
    files = {f"{n}/{i}.png": _encode(_grey(i)) for n in ("train", "car") for i in range(2)}
    assert open_data(_lay(tmp_path, files)).train.classes == ("car", "train")


def test_hidden_files_are_passed_over(tmp_path) -> None:
    files = {f"{n}/{i}.png": _encode(_grey(i)) for n in "ab" for i in range(2)}
    files |= {"__MACOSX/a/._1.png": b"junk", "a/._1.png": b"junk"}
    split = open_data(_lay(tmp_path, files, as_zip=True))
    assert len(split.train) + len(split.test) == 4


def _bomb(width: int, height: int) -> bytes:
    """A PNG that promises far more pixels than it has."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [5_000, 10_000, 60_000])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, side: int) -> None:
    files = {"a/1.png": _bomb(side, side), "b/1.png": _encode(_grey(1))}
    with pytest.raises(InputError, match=r"too large|cannot be read"):
        open_data(_lay(tmp_path, files))


def test_the_limits_hold_for_files_and_for_the_whole(tmp_path, monkeypatch) -> None:
    files = {f"{n}/{i}.png": _encode(_grey(i)) for n in "ab" for i in range(2)}
    places = [_lay(tmp_path, files), _lay(tmp_path, files, as_zip=True)]
    for name, limit, says in (("MEMBER", 20, "more than 20 bytes"), ("VALUES", 47, "too many")):
        with monkeypatch.context() as patch:
            patch.setattr(images, name, limit)
            for place in places:
                with pytest.raises(InputError, match=says):
                    open_data(place)


def test_what_is_no_zip_or_needs_a_password_is_refused(tmp_path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(InputError, match="cannot be read as a zip"):
        open_data(str(path))
    good = Path(_lay(tmp_path, {f"{n}/1.png": _encode(_grey(1)) for n in "abc"}, as_zip=True))
    content = bytearray(good.read_bytes())
    for at in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[at] |= 1  # the flag that says "encrypted"
    good.write_bytes(content)
    with pytest.raises(InputError, match="without a password"):
        open_data(str(good))


def test_no_warning_filter_is_left_behind(tmp_path) -> None:
    before = list(warnings.filters)
    with pytest.raises(InputError):
        open_data(_lay(tmp_path, {"a/1.png": b"junk"}))
    assert list(warnings.filters) == before


@pytest.mark.data
def test_the_faces_of_orl_are_40_people_of_10_pictures(shared_data: Path) -> None:
    split = open_data(str(shared_data / "orl-faces" / "orl_faces.zip"))
    y = torch.cat([split.train.y, split.test.y])
    assert y.bincount().tolist() == [10] * 40
    assert split.train.tensor.shape[1:] == (1, 112, 92)


@pytest.mark.data
def test_cifar_and_gtsrb_keep_their_own_test_part(shared_data: Path, tmp_path) -> None:
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    for source, classes in (("cifar10-jpeg/cifar10-jpeg", names), ("gtsrb32/gtsrb32", None)):
        with zipfile.ZipFile(shared_data / f"{source}.zip") as whole:
            kept = {n: whole.read(n) for n in whole.namelist()[::20] if not n.endswith("/")}
        split = open_data(_lay(tmp_path / source.split("/")[0], kept, as_zip=True))
        assert split.train.classes == tuple(classes or [f"{i:05d}" for i in range(43)])
        assert len(split.train) == sum(name.startswith("train/") for name in kept)
        assert len(split.test) == sum(name.startswith("test/") for name in kept)
        assert split.train.tensor.shape[1:] == (3, 32, 32)
