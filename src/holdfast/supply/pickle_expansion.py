"""Short files that hold endless things: containers within containers, again and again."""

from collections.abc import Sequence

from holdfast.supply.pickle_values import Listed, Mapped, Symbol

HASHED = 10_000
"""Things in one key of a dictionary, counted each time that they lie in it."""
_WALKED, _RATIO, _DEEP = 10**7, 10**5, 3000


def hashes(key: tuple[Symbol, ...]) -> int:
    """How many things are hashed for a tuple of tuples, up to a few more than `HASHED`.

    No hash is remembered: a tuple that lies in another one twice is hashed twice.
    """
    left, count = [key], 0
    while left and count <= HASHED:
        for each in left.pop():
            count += 1
            if type(each) is tuple:
                left.append(each)
    return count


def expansion(value: Symbol) -> str | None:
    """What is wrong with how lists, dictionaries and tuples lie within each other, or None.

    A list that holds another one twice, which holds a third one twice, and so on, is short in a
    file, but whoever walks through it, prints or copies it never comes to an end. The pickler
    itself cannot write what is thousands of levels deep.
    """
    sizes: dict[int, int] = {}
    written, above = 1, 0
    left: list[tuple[Symbol, list[Symbol] | None, int]] = [(value, None, 0)]
    while left:
        thing, inner, count = left.pop()
        if inner is not None:  # all that lies within has been measured, but for what holds itself
            sizes[id(thing)] = min(count + sum(sizes[id(each)] for each in inner), 2**62)
            above -= 1
        elif type(thing) in _HOLDERS and id(thing) not in sizes:
            items = _items(thing)
            inner = [each for each in items if type(each) in _HOLDERS]
            written += len(items)
            count = 1 + len(items) - len(inner)
            sizes[id(thing)] = count
            if inner:
                above += 1
                if above > _DEEP:
                    return f"containers more than {_DEEP:,} levels deep"
                left.append((thing, inner, count))
                left += [(each, None, 0) for each in inner]
    size = sizes.get(id(value), 1)
    if size > max(_WALKED, _RATIO * written):
        return f"containers that hold each other again and again, {size:.1e} things in all"
    return None


_HOLDERS = (tuple, Listed, Mapped)


def _items(thing: Symbol) -> Sequence[Symbol]:
    if isinstance(thing, Mapped):
        return [*thing.items.values(), *thing.numbers.values()]
    if isinstance(thing, Listed):
        return thing.items
    return thing if isinstance(thing, tuple) else ()
