# As much CBOR as rpc-v2-cbor needs, written for the tests alone, so that they do not believe the server's own.
# SPDX-License-Identifier: Apache-2.0
import datetime
import struct


class Time(float):
    """Seconds since 1970: tag 1."""


def head(major, n):
    for info, form, most in ((None, None, 23), (24, "B", 0xff), (25, ">H", 0xffff), (26, ">I", 0xffffffff), (27, ">Q", 2**64 - 1)):
        if n <= most:
            return bytes([major << 5 | (n if info is None else info)]) + (struct.pack(form, n) if form else b"")


def dumps(x):
    if x is None or isinstance(x, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[x]
    if isinstance(x, datetime.datetime):
        x = Time(x.timestamp())
    if isinstance(x, Time):
        return b"\xc1\xfb" + struct.pack(">d", x)
    if isinstance(x, int):
        return head(0, x) if x >= 0 else head(1, -1 - x)
    if isinstance(x, float):
        return b"\xfb" + struct.pack(">d", x)
    if isinstance(x, bytes):
        return head(2, len(x)) + x
    if isinstance(x, str):
        return head(3, len(x.encode())) + x.encode()
    if isinstance(x, (list, tuple)):
        return head(4, len(x)) + b"".join(map(dumps, x))
    return head(5, len(x)) + b"".join(dumps(k) + dumps(v) for k, v in x.items())


def loads(b):
    x, rest = item(b)
    assert not rest, rest
    return x


def item(b):
    major, info, b = b[0] >> 5, b[0] & 31, b[1:]
    if major == 7:
        if info in (20, 21, 22):
            return {20: False, 21: True, 22: None}[info], b
        size, form = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[info]
        return struct.unpack(form, b[:size])[0], b[size:]
    n = info
    if info >= 24:
        size = 1 << (info - 24)
        n, b = int.from_bytes(b[:size], "big"), b[size:]
    if major in (0, 1):
        return n if major == 0 else -1 - n, b
    if major in (2, 3):
        return b[:n] if major == 2 else b[:n].decode(), b[n:]
    if major == 4:
        out = []
        for _ in range(n):
            x, b = item(b)
            out.append(x)
        return out, b
    if major == 5:
        out = {}
        for _ in range(n):
            k, b = item(b)
            out[k], b = item(b)
        return out, b
    assert (major, n) == (6, 1), "only tag 1 is used"
    x, b = item(b)
    return Time(x), b
