"""What the redaction tests are run on: texts and keys without secrets, keys of secrets, and generated secrets.

No secret is written down anywhere: each is made at test time from its published format and random characters.
"""

from __future__ import annotations

import base64
import hashlib
import random
import string
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CORPUS: Final = Path(__file__).parent / "corpus"
_ALPHABETS: Final = {
    "alnum": string.ascii_letters + string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "b64url": string.ascii_letters + string.digits + "_-",
    "base32": string.ascii_uppercase + "234567",
    "digit": string.digits,
    "hex": "0123456789abcdef",
    "letter": string.ascii_letters,
    "lowdigit": string.ascii_lowercase + string.digits,
    "updigit": string.ascii_uppercase + string.digits,
}


def lines(name: str) -> list[str]:
    """Return the lines of a corpus file."""
    return (_CORPUS / name).read_text("utf-8").splitlines()


def chars(rng: random.Random, alphabet: str, count: int) -> str:
    """Return so many random characters of an alphabet known by its name."""
    return "".join(rng.choices(_ALPHABETS[alphabet], k=count))


def generated_benign(rng: random.Random) -> list[str]:
    """Return 260 identifiers and encodings that look random and are no secrets."""
    makers: list[Callable[[], str]] = [
        lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        lambda: uuid.UUID(int=rng.getrandbits(128), version=4).hex,
        lambda: hashlib.sha1(rng.randbytes(9)).hexdigest(),
        lambda: hashlib.sha256(rng.randbytes(9)).hexdigest(),
        lambda: hashlib.md5(rng.randbytes(9)).hexdigest(),
        lambda: "sha256:" + hashlib.sha256(rng.randbytes(9)).hexdigest(),
        lambda: "data:image/png;base64," + base64.b64encode(rng.randbytes(600)).decode(),
        lambda: "data:font/woff2;base64," + base64.b64encode(rng.randbytes(3000)).decode(),
        lambda: "sha512-" + base64.b64encode(rng.randbytes(64)).decode(),
        lambda: "01" + "".join(rng.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=24)),
        lambda: "chatcmpl-" + chars(rng, "alnum", 29),
        lambda: "msg_01" + chars(rng, "alnum", 22),
        lambda: "req_" + chars(rng, "alnum", 24),
        lambda: "call_" + chars(rng, "alnum", 24),
        lambda: "cus_" + chars(rng, "alnum", 14),
        lambda: "commit " + hashlib.sha1(rng.randbytes(9)).hexdigest() + " touches the token parser",
        lambda: "Updated the auth docs in " + hashlib.sha1(rng.randbytes(9)).hexdigest(),
        lambda: f"token usage of run {uuid.UUID(int=rng.getrandbits(128)).hex}: 512",
        lambda: f"https://example.com/runs/{uuid.UUID(int=rng.getrandbits(128))}?tab=steps",
        lambda: f"https://cdn.example.com/assets/main.{chars(rng, 'hex', 20)}.js",
        lambda: (
            f"20{rng.randrange(10, 30)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}T1{rng.randrange(10)}:00:00.000Z"
        ),
        lambda: f"registry.example.com/app@sha256:{hashlib.sha256(rng.randbytes(9)).hexdigest()}",
        lambda: f"pod/worker-{chars(rng, 'lowdigit', 10)}-{chars(rng, 'lowdigit', 5)}",
        lambda: f'W/"{chars(rng, "hex", 32)}"',
        lambda: str(rng.getrandbits(160)),
        lambda: base64.b64encode(b"A plain sentence without anything to hide." * 3).decode(),
    ]
    return [maker() for maker in makers for _ in range(10)]


def benign_strings(rng: random.Random) -> list[str]:
    """Return more than 550 different strings without a secret."""
    return list(dict.fromkeys([*lines("benign_strings.txt"), *generated_benign(rng)]))
