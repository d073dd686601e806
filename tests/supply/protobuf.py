"""Protocol buffers written by hand, for formats whose libraries are not installed."""


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(*given: tuple[int, object]) -> bytes:
    """A message of (field, value): numbers as varints, texts and bytes with their length."""
    out = b""
    for field, value in given:
        if isinstance(value, int):
            out += varint(field << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else bytes(value)
            out += varint(field << 3 | 2) + varint(len(raw)) + raw
    return out
