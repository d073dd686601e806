"""IDX files written by hand, and MNIST itself."""

import gzip
import struct
from pathlib import Path

import pytest
import torch

from holdfast.core.errors import InputError
from holdfast.data import files, open_data


def _idx(values: torch.Tensor, magic: bytes | None = None) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) if magic is None else magic
    return head + struct.pack(f">{values.ndim}I", *values.shape) + bytes(values.flatten().tolist())


def _images(count: int, start: int = 0) -> torch.Tensor:
    return (torch.arange(start, start + count * 6) % 256).view(count, 3, 2)


def _write(folder: Path, part: str, x: torch.Tensor, y: list[int], packed: bool = False) -> None:
    for name, values in (("images-idx3", x), ("labels-idx1", torch.tensor(y))):
        path = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(_idx(values)) if packed else _idx(values))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_with_the_names_of_mnist_keeps_its_parts(tmp_path, packed: bool) -> None:
    train, test = _images(4), _images(2, start=100)
    _write(tmp_path, "train", train, [7, 3, 3, 9], packed)
    _write(tmp_path, "t10k", test, [9, 7], packed)
    split = open_data(str(tmp_path))
    assert torch.equal(split.train.tensor, train.float().unsqueeze(1) / 255)
    assert torch.equal(split.test.tensor, test.float().unsqueeze(1) / 255)
    assert split.train.classes == split.test.classes == ("3", "7", "9")
    assert split.train.y.tolist() == [1, 0, 0, 2]
    assert split.test.y.tolist() == [2, 1]


def test_one_pair_of_files_is_split_two_to_one(tmp_path) -> None:
    _write(tmp_path, "mine", _images(9), [0, 1, 2] * 3)
    split = open_data(str(tmp_path / "mine-images-idx3-ubyte"))
    assert (len(split.train), len(split.test)) == (6, 3)
    assert split.train.name == "mine"
    _write(tmp_path, "train", _images(3), [0, 1, 2])
    assert len(open_data(str(tmp_path)).train) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n", "starts with 00 00 08 03: got 89 50 4e 47"),
        (_idx(_images(4), magic=b"\0\0\x0d\x03"), "got 00 00 0d 03"),
        (_idx(_images(4))[:-1], "4 x 3 x 2 values: got 23 bytes"),
        (_idx(_images(4)) + b"\0", "4 x 3 x 2 values: got 25 bytes"),
        (bytes([0, 0, 8, 3, 0, 0]), "got 0 bytes"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"\1", "4294967295 x 4294967295"),
        (_idx(torch.zeros(0, 3, 2).long()), "0 x 3 x 2 values"),
    ],
)
def test_what_is_no_idx_file_of_images_is_refused(tmp_path, content: bytes, says: str) -> None:
    _write(tmp_path, "train", _images(4), [0, 1, 0, 1])
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_data(str(tmp_path))


def test_one_label_too_few_is_told_with_both_counts(tmp_path) -> None:
    _write(tmp_path, "train", _images(4), [0, 1, 0])
    with pytest.raises(InputError, match="4 images and 3 labels"):
        open_data(str(tmp_path))


def test_images_without_labels_beside_them_are_refused(tmp_path) -> None:
    _write(tmp_path, "train", _images(4), [0, 1, 0, 1])
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="labels of an IDX file must lie beside it"):
        open_data(str(tmp_path))


def test_parts_of_different_image_sizes_are_refused(tmp_path) -> None:
    _write(tmp_path, "train", _images(4), [0, 1, 0, 1])
    _write(tmp_path, "t10k", torch.zeros(2, 5, 5).long(), [0, 1])
    with pytest.raises(InputError, match=r"one size: got \(5, 5\) beside \(3, 2\)"):
        open_data(str(tmp_path))


def test_one_class_only_is_no_task(tmp_path) -> None:
    _write(tmp_path, "train", _images(4), [5, 5, 5, 5])
    with pytest.raises(InputError, match="one class only, '5'"):
        open_data(str(tmp_path))


def test_damaged_gzip_is_an_input_error(tmp_path) -> None:
    _write(tmp_path, "train", _images(4), [0, 1, 0, 1], packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (
        path.read_bytes()[:-9],
        b"not gzip at all",
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xff",
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            open_data(str(tmp_path))


def test_a_file_that_unpacks_to_more_than_the_limit_is_not_unpacked_further(tmp_path) -> None:
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(InputError, match="more than 99999 bytes"):
        files.read_bytes(path, limit=99_999)
    assert files.read_bytes(path, limit=100_000) == bytes(100_000)


@pytest.mark.data
def test_mnist_has_the_class_counts_of_its_publication(shared_data: Path) -> None:
    split = open_data(str(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz"))
    y = torch.cat([split.train.y, split.test.y])
    assert y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    x = torch.cat([split.train.tensor, split.test.tensor])
    assert x.shape == (10_000, 1, 28, 28)
    assert x.mean() == pytest.approx(0.13251, abs=1e-4)  # mean of the test images, as often quoted
