"""The reader of protocol buffers: golden bytes, Google's own encoder, and damaged messages."""

import pytest
from onnx import AttributeProto, TensorProto
from onnx.helper import make_attribute, make_node

from holdfast.supply.pickle_values import Exhausted, Malformed
from holdfast.supply.wire import BYTES, FIXED32, VARINT, fields, numbers, signed, text, varint

GOLDEN = (
    b"\x08\x96\x01" + b"\x12\x07testing" + b"\x1d\x01\x00\x00\x00" + b"\x21" + b"\x02" + b"\0" * 7
)


def listed(data: bytes, **more):
    return [tuple(field) for field in fields(data, 0, len(data), **more)]


def test_the_examples_of_the_encoding_guide_are_read() -> None:
    assert listed(GOLDEN) == [(1, 0, 150), (2, 2, (5, 12)), (3, 5, 1), (4, 1, 2)]
    assert text(GOLDEN, (5, 12)) == "testing"


def test_only_the_given_window_is_read() -> None:
    data = b"\xff" * 3 + GOLDEN + b"\xff" * 3
    assert [f.number for f in fields(data, 3, 3 + len(GOLDEN))] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**64 - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_numbers_of_every_length_are_read(value, raw) -> None:
    assert varint(raw + b"\x05", 0, len(raw) + 1) == (value, len(raw))


def test_negative_numbers_are_written_as_two_complements() -> None:
    data = AttributeProto(name="a", i=-3).SerializeToString()
    assert [signed(f.amount) for f in fields(data, 0, len(data)) if f.number == 3] == [-3]


def test_what_the_official_encoder_writes_is_read_back() -> None:
    node = make_node("Op", ["x", "yy"], ["z"], name="n", values=[1, 2, 300])
    data = node.SerializeToString()
    found = list(fields(data, 0, len(data)))
    assert [text(data, f.span) for f in found if f.number == 1] == ["x", "yy"]
    (attribute,) = (f.span for f in found if f.number == 5)
    inside = list(fields(data, *attribute))
    assert [n for f in inside if f.number == 8 for n in numbers(data, f)] == [1, 2, 300]
    assert make_attribute("values", [1, 2, 300]).SerializeToString() == data[slice(*attribute)]


def test_packed_and_single_numbers_give_the_same_values() -> None:
    packed = TensorProto(dims=[2, 3, 400]).SerializeToString()
    single = b"\x08\x02\x08\x03\x08\x90\x03"
    for data in (packed, single):
        assert [n for f in fields(data, 0, len(data)) for n in numbers(data, f)] == [2, 3, 400]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08", b"\x08\x80", b"\x12\x05abc", b"\x0d\0\0\0", b"\x09\0\0\0\0\0\0\0", b"\x0b", b"\x0c",
        b"\x0e", b"\x0f", b"\x00\x01", b"\x08" + b"\xff" * 11, b"\x12\xff\xff\xff\xff\x0f",
    ],
)  # fmt: skip
def test_a_damaged_message_is_an_error_and_nothing_else(data) -> None:
    with pytest.raises(Malformed):
        listed(data)


def test_a_declared_length_is_never_allocated() -> None:
    with pytest.raises(Malformed, match="longer than the message"):
        listed(b"\x12" + b"\xff" * 8 + b"\x7f" + b"abc")


def test_more_fields_than_allowed_end_the_message() -> None:
    with pytest.raises(Exhausted):
        listed(b"\x08\x01" * 11, most=10)
    assert len(listed(b"\x08\x01" * 10, most=10)) == 10


def test_a_field_of_the_other_encoding_is_an_error() -> None:
    (field,) = fields(b"\x08\x01", 0, 2)
    assert (field.kind, field.amount) == (VARINT, 1)
    with pytest.raises(Malformed, match="not bytes"):
        _ = field.span
    (field,) = fields(b"\x0a\x00", 0, 2)
    assert (field.kind, field.span) == (BYTES, (2, 2))
    with pytest.raises(Malformed, match="not a number"):
        _ = field.amount
    assert next(fields(b"\x0d\x01\0\0\0", 0, 5)).kind == FIXED32


def test_a_long_text_is_not_decoded() -> None:
    with pytest.raises(Exhausted):
        text(b"a" * 100, (0, 100), most=99)


def test_every_flip_and_cut_ends_with_an_error_or_a_list() -> None:
    data = make_node("Op", ["x"], ["y"], values=[1, 2]).SerializeToString()
    for cut in range(len(data)):
        for flip in range(256):
            damaged = data[:cut] + bytes([flip]) + data[cut + 1 :]
            try:
                assert all(f.number > 0 for f in fields(damaged, 0, len(damaged)))
            except (Malformed, Exhausted):
                continue
