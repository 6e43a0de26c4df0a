"""Bytes that are almost messages."""


def mutations(rng, good: bytes, count: int):
    """Damaged copies of a serialised message: bytes changed, cut short, or noise.

    The four bytes of the CDR header stay: without them DDS itself does not send the data.
    """
    for number in range(count):
        data = bytearray(good)
        kind = number % 4
        if kind == 0:
            data = data[:rng.integers(5, max(6, len(data)))]
        elif kind == 1:
            for place in rng.integers(4, len(data), 4):
                data[place] = rng.integers(256)
        elif kind == 2:
            place = rng.integers(4, max(5, len(data) - 4))
            data[place:place + 4] = rng.bytes(4)
        else:
            data = bytearray(data[:4] + rng.bytes(int(rng.integers(1, 64))))
        yield bytes(data)
