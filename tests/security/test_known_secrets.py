"""Values that a run knows to be secret: scrubbed wherever they turn up, and kept from leaving."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import string
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pydantic
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kairos_async.security import KnownSecrets, Redactor, sanitize_exception
from kairos_async.security.engine import as_json

SECRET = st.text(string.ascii_letters + string.digits + "!#%&/+=?-_ äß\"'\\", min_size=8, max_size=40).filter(
    lambda text: text == text.strip() and len(set(text)) > 4
)
AROUND = st.text(string.printable, max_size=20)
PLACES: dict[str, Any] = {
    "plain": lambda secret: secret,
    "URL": lambda secret: quote(secret, safe=""),
    "path of a URL": lambda secret: quote(secret),
    "URL of a browser": lambda secret: quote(secret, safe="!~*'()"),
    "URL of an HTTP client": lambda secret: str(httpx.URL("https://a.example/", params={"q": secret})),
    "form": lambda secret: quote_plus(secret),
    "HTML": lambda secret: html.escape(secret),
    "JSON": lambda secret: json.dumps({"note": secret}),
    "JSON, not ASCII": lambda secret: json.dumps({"note": secret}, ensure_ascii=False),
    "JSON with escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "Python": lambda secret: repr([secret]),
    "Python, ASCII": lambda secret: ascii(secret),
    "Python, bytes": lambda secret: repr(secret.encode()),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 of more": lambda secret: base64.b64encode(f"user:{secret}, and more".encode()).decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(f"x{secret}".encode()).decode(),
}


def everything_seen(redactor: Redactor, text: str) -> str:
    """Return all that a run could show of a text, in one string."""
    try:
        raise RuntimeError({"request": [text]})
    except RuntimeError as error:
        try:
            raise KeyError(text) from error
        except KeyError as last:
            last.add_note(f"note {text}")
            said = sanitize_exception(last, redactor)
    shown = redactor.redact({"value": text, "list": [text, (text,)], text: 1, "raw": text.encode(), "n": {"a": {text}}})
    return "\n".join([*said, redactor.text(text), json.dumps(shown, ensure_ascii=False), repr(shown)])


@given(SECRET, st.sampled_from(sorted(PLACES)), AROUND, AROUND)
def test_a_registered_value_is_scrubbed_in_every_form_and_place(secret: str, place: str, left: str, right: str) -> None:
    """As it is, escaped, URL-encoded or in base64 once; in values, keys, bytes, exceptions, their notes and causes."""
    assume(secret not in left + right)
    redactor = Redactor()
    redactor.register(secret)
    carried = PLACES[place](secret)
    seen = everything_seen(redactor, f"{left} {carried} {right}")
    assert secret not in seen
    assert carried not in seen


@given(SECRET, st.sampled_from(sorted(PLACES)))
def test_the_guard_sees_what_scrubbing_sees(secret: str, place: str) -> None:
    """A value that carries a registered one is told, unless it stands under a sensitive key of its own."""
    redactor = Redactor()
    carried = f"- {PLACES[place](secret)} -"
    assert not redactor.holds_secret({"out": [carried]})
    redactor.register(secret)
    assert redactor.holds_secret({"out": [carried]})
    assert redactor.holds_secret({carried: 1})
    assert not redactor.holds_secret({"token": carried, "n": [{"password": {"deep": [carried]}}]})
    assert not redactor.holds_secret([["Authorization", carried], {"name": "api_key", "value": carried}])
    assert redactor.holds_secret([["Accept", carried]])
    assert redactor.holds_secret([{"name": "city", "value": carried}])


def test_what_is_stored_under_sensitive_keys_is_registered() -> None:
    """By the key of the value itself, by keys inside of it, in pairs and in name/value objects; nothing else."""
    redactor = Redactor()
    redactor.register_sensitive_parts("own-secret", "api_key")
    redactor.register_sensitive_parts(
        {
            "a": [{"password": "inner-secret"}, ["X-Api-Key", "paired-secret"]],
            "b": {"name": "token", "value": "named-secret"},
            "credentials": {"user": "nested-secret", "list": ["listed-secret"]},
            "city": "harmless-text",
            "max_tokens": "harmless-number",
        }
    )
    for secret in ("own", "inner", "paired", "named", "nested", "listed"):
        assert redactor.text(f"<{secret}-secret>") == "<[REDACTED]>"
    assert redactor.text("harmless-text harmless-number") == "harmless-text harmless-number"


def test_wrapped_secrets_are_registered_wherever_they_are() -> None:
    """`SecretStr` and `SecretBytes` say themselves that they are secret."""
    redactor = Redactor()
    redactor.register([pydantic.SecretStr("wrapped-one"), {"x": pydantic.SecretBytes(b"wrapped-two")}])
    assert redactor.text("wrapped-one, wrapped-two") == "[REDACTED], [REDACTED]"
    assert not redactor.holds_secret({"still wrapped": pydantic.SecretStr("wrapped-one")})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("stored", "part"),
    [
        ("Bearer abcdefgh12", "abcdefgh12"),
        ("postgres://app:pa%40ssword1@db/x", "pa@ssword1"),
        ("postgres://app:passwordy@db/x", "passwordy"),
        ("theme=dark; session=abcdefghij1234567890; Path=/", "abcdefghij1234567890"),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END PRIVATE KEY-----",
            "MIIEvQIBADANBgkqhkiG9w0B",
        ),
        ("  padded-secret \n", "padded-secret"),
    ],
)
def test_the_credential_inside_a_header_url_cookie_or_key_is_known_too(stored: str, part: str) -> None:
    """It may turn up without what stood around it."""
    redactor = Redactor()
    redactor.register_sensitive_parts({"credential": stored})
    assert part not in redactor.text(f"got {part}!")


@pytest.mark.parametrize("value", ["short", "required", "Bearer", "********", "[REDACTED]", "      ", 123456789, None])
def test_short_values_masks_and_common_words_are_not_registered(value: object) -> None:
    """They would turn up by chance in texts that have nothing to do with them."""
    redactor = Redactor()
    redactor.register(value)
    assert redactor.text(f"x {value} x") == f"x {value} x"


def test_a_registry_can_be_shared() -> None:
    """What one redactor registers, another one that was given the same registry knows."""
    known = KnownSecrets()
    Redactor(registry=known).register("shared-secret")
    assert Redactor(registry=known).text("a shared-secret") == "a [REDACTED]"
    assert Redactor().text("a shared-secret") == "a shared-secret"
    assert "shared-secret" not in repr(known)


def test_a_thousand_values_are_found_as_a_few_are() -> None:
    """Beyond a few, the search changes its method, not its answer."""
    redactor = Redactor()
    secrets = [f"{number:04d}-secret-{number * 7919 % 10007}" for number in range(1000)]
    redactor.register(secrets)
    for secret in secrets[::97]:
        for place in PLACES.values():
            carried = place(secret)
            assert carried not in redactor.text(f"a {carried} b")
            assert redactor.holds_secret({"x": carried})
    harmless = "0000-secrets and other words " * 10
    assert redactor.text(harmless) is harmless


def test_a_registered_value_is_known_to_every_thread_at_once() -> None:
    """Steps log from worker threads while others register what they were given."""
    redactor = Redactor()
    secrets = [f"thread-secret-{number:04d}" for number in range(400)]

    def register_and_look(secret: str) -> bool:
        redactor.register(secret)
        return redactor.text(f"a {secret} b") == "a [REDACTED] b"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(register_and_look, secrets))


def test_a_redactor_is_copied_as_itself_and_not_pickled() -> None:
    """What it knows goes nowhere."""
    redactor = Redactor()
    assert copy.deepcopy({"r": redactor})["r"] is redactor
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(redactor)


def test_long_values_are_found_whole_and_in_base64() -> None:
    """Remembered in pieces, a copy of a long value leaves nothing over."""
    long = "".join(f"{number:x}-" for number in range(8000))
    redactor = Redactor()
    redactor.register({"password": long})
    assert redactor.text(f"a {long} b") == "a [REDACTED] b"
    assert redactor.text(f"a {base64.b64encode(long.encode()).decode()} b") == "a [REDACTED] b"


@given(st.lists(SECRET, min_size=1, max_size=5), st.lists(SECRET, max_size=5))
def test_unrelated_data_stays_the_same_object(secrets: list[str], others: list[str]) -> None:
    """Knowing secrets changes nothing about data that does not hold them."""
    redactor = Redactor()
    data = {"notes": others, "n": [1, 2.5, None, True]}
    plain = redactor.redact(data)
    redactor.register(secrets)
    if not redactor.holds_secret(data):  # type: ignore[arg-type]
        assert redactor.redact(data) == plain


def test_many_secrets_in_many_texts_take_linear_time() -> None:
    """However many are known, a text is gone through once, also when all begin alike."""
    known = KnownSecrets()
    values = [f"abcdefgh-{number:05}" for number in range(1_000)]
    for value in values:
        known.add(value)
    text = " ".join(values)
    started = time.thread_time()
    assert [text[start:end] for start, end in sorted(known.spans(text))] == values
    for value in values:
        assert known.spans(f"say {value}") == [(4, 4 + len(value))]
    assert time.thread_time() - started < 2.0


def test_values_that_are_parts_of_each_other_take_linear_time() -> None:
    """A text in which each of them is at each place, and an encoded one."""
    known = KnownSecrets()
    for length in range(6, 406):
        known.add("a" * length)
    encoded = base64.b64encode(b"-" + b"a" * 50).decode()
    started = time.thread_time()
    assert sorted(known.spans(f"- {'a' * 20_000} {encoded} -")) == [(2, 20_002), (20_003, 20_003 + len(encoded))]
    assert time.thread_time() - started < 1.0


@given(SECRET, AROUND, st.sampled_from(sorted(PLACES)))
def test_what_is_in_a_text_is_found_in_the_json_of_any_data_with_that_text(
    secret: str, around: str, place: str
) -> None:
    """Whatever has to be escaped there, in the secret, in its encoding or around it."""
    known = KnownSecrets()
    known.add(secret)
    text = f"{around}{PLACES[place](secret)}{around}"
    assume(known.found_in(text))
    assert known.found_in_utf8(as_json({"a": [1, {"b": text}]}))
    assert known.found_in_utf8(as_json({text: None}))


def test_a_few_values_are_found_also_after_many_searches() -> None:
    """By then they are searched for together."""
    known = KnownSecrets()
    known.add("first-secret")
    for _ in range(200):
        assert not known.found_in("nothing here")
    assert known.found_in("a first-secret here")
    known.add("second-secret")
    assert known.found_in("a second-secret here")
    for _ in range(1000):
        assert not known.found_in("nothing here")
    assert known.found_in("a second-secret here")
    assert known.spans("a first-secret here") == [(2, 14)]
