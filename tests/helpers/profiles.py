"""ICC profiles of RGB spaces, made from their primaries, and their conversion to sRGB in plain NumPy."""

import struct

import numpy as np

#: XYZ of red, green and blue, adapted to D50 (ICC PCS), and the exponent of the tone curve.
DISPLAY_P3 = (((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)), 2.2)
ADOBE_RGB = (((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), 563 / 256)
SRGB = (((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)), 2.2)


def profile(space, kind=b"RGB "):
    """A version 2 profile of a display (``mntr``) with these primaries."""

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    primaries, exponent = space
    text = b"made for a test\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)}
    tags |= {
        b"cprt": b"text" + bytes(4) + text,
        b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, (0.9642, 1, 0.8249))),
    }
    for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, primary))
        tags[name + b"TRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    body, table, at = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", kind, b"XYZ ") + bytes(12) + b"acsp"
    header += bytes(28) + b"".join(map(fixed, (0.9642, 1, 0.8249))) + bytes(48)
    return header + table + body


def to_srgb(frame, space):
    """uint8 [H, W, 3] in a space to sRGB: float64 [H, W, 3], 0 to 255."""
    primaries, exponent = space
    linear = (frame / 255) ** (round(exponent * 256) / 256)
    linear = linear @ np.array(primaries) @ np.linalg.inv(np.array(SRGB[0]))
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
