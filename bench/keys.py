"""Well-formed keys that cfx has not made itself (their form: src/admission/key.rs)."""

import random
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, width):
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        text = ALPHABET[digit] + text
    return text


def keys(count):
    """The same ones each time."""
    source = random.Random(7)
    for _ in range(count):
        body = "cfx_live_" + base62(source.getrandbits(250), 44)
        yield body + base62(zlib.crc32(body.encode()), 6)
