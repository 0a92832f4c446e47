"""The words that make a key sensitive, the words that take that back, and the folding of look-alike letters."""

from __future__ import annotations

import unicodedata
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PASSWORDS: Final = _words(
    "password passwords passwd passwort passphrase passcode pwd pswd passw pword pass kennwort contrasena senha "
    "mot_de_passe пароль 密码 密碼 パスワード 비밀번호"
)
_CODES: Final = _words(
    "pin pin_code otp totp one_time_code mfa_code two_factor_code security_code verification_code cvv cvc ssn "
    "social_security_number credit_card card_number cc_number"
)
_TOKENS: Final = _words(
    "token access_tokens refresh_tokens api_tokens auth_tokens bearer_tokens session_tokens jwt jwts bearer csrf "
    "xsrf sas_token sas_url amz_signature auth_code authorization_code"
)
_SECRETS: Final = _words(
    "secret secrets credential credentials cred creds secret_id mnemonic seed_phrase recovery_code recovery_codes "
    "backup_code backup_codes webhook_url htpasswd netrc"
)
_HEADERS: Final = _words(
    "auth oauth authorization authentication basic_auth proxy_auth cookie cookies session_id session_key "
    "session_cookie phpsessid jsessionid connect_sid"
)
_CONNECTIONS: Final = _words(
    "database_url database_uri db_url db_uri db_dsn dsn redis_url mongo_url mongo_uri mongodb_uri postgres_url "
    "postgresql_url mysql_url amqp_url rabbitmq_url broker_url celery_broker_url jdbc_url connection_string "
    "conn_string conn_str connection_uri"
)
_KINDS_OF_KEY: Final = _words(
    "api apis access secret private signing signature encryption decryption master account storage service auth "
    "ssh deploy shared subscription app application consumer client webhook hmac symmetric aes rsa pgp gpg "
    "functions host license licence admin root server integration ingest write bot sas cloud vault"
)
_VENDORS: Final = _words(
    "openai anthropic claude gemini google gcp azure aws cohere mistral groq xai deepseek together replicate "
    "huggingface hf perplexity openrouter fireworks elevenlabs pinecone weaviate qdrant tavily serper serpapi exa "
    "langsmith langfuse wandb stripe paypal square plaid github gitlab slack discord twilio sendgrid mailgun "
    "mailchimp datadog newrelic sentry cloudflare heroku digitalocean supabase algolia"
)
DEFAULT_SENSITIVE_PATTERNS: Final[tuple[str, ...]] = (
    *_PASSWORDS,
    *_CODES,
    *_TOKENS,
    *_SECRETS,
    *_HEADERS,
    *_CONNECTIONS,
    *(f"{kind}_{key}" for kind in (*_KINDS_OF_KEY, *_VENDORS) for key in ("key", "keys")),
    "access_key_id",
    "aws_access_key_id",
    "secret_key_base",
    "pkey",
    "privkey",
)
"""Words and phrases that make a key sensitive when they are among its words."""

NUMERIC_SECRETS: Final = frozenset(
    _words(
        "password passwords passwd passwort passphrase passcode pwd pswd kennwort pin pincode otp totp "
        "onetimecode mfacode twofactorcode securitycode verificationcode cvv cvc ssn socialsecuritynumber "
        "creditcard cardnumber ccnumber"
    )
)
"""Phrases under which a number is a secret too. Under the others it counts: `token: 7`, `cookies: 3`."""

COMPOUND_ENDINGS: Final = _words(
    "password passwd passphrase apikey secretkey privatekey accesskey credentials token secret pwd"
)
"""A word that ends in one of these is a compound of it: `dbpassword`, `csrftoken`, `clientsecret`."""

NOT_A_COMPOUND: Final = frozenset({"", *_words("de re pre un non top multi super")})
"""Before such an ending these make another word: `topsecret`, `subtoken`."""

QUANTIFYING_WORDS: Final = frozenset(
    _words(
        "max min maximum minimum num n nb no number total sum avg mean count has is are was needs need requires "
        "require use uses allow allows enable enabled disable disabled show hide supports should can forgot per"
    )
)
"""As the first word, or directly before the phrase, these say that the key counts or answers yes or no."""

DESCRIBING_LAST_WORDS: Final = frozenset(
    _words(
        "count counts counter total limit limits budget quota length len size usage used remaining rate ratio "
        "cost price percent percentage threshold score max type types kind class name names label title "
        "description field fields policy policies strength rules schema format version algorithm alg regex expiry "
        "expires expired expiration ttl age at date time timestamp duration ms seconds second minutes minute "
        "hours days in latency timeout interval status state valid required enabled disabled present set exists "
        "optional missing changed updated created accepted verified confirmed rotation rotated url uri endpoint "
        "path file filename dir directory location domain page provider providers method methods mode scheme flow "
        "server backend strategy error errors failure failures failed fail attempts attempt retries reason issuer "
        "audience scope scopes role roles manager generator validator parser handler middleware module index "
        "position offset id ids bucket stream window logprob logprobs bias embedding embeddings classification "
        "probability probabilities consent banner preferences notice settings options config enum prompt help "
        "through owner user username email group permission permissions level tier pattern patterns info attrs "
        "map mgr cb callback lock labels range"
    )
)
"""As the last word, after the phrase, these say that the key describes a secret and does not hold it."""

TEXT_TOKEN_WORDS: Final = frozenset(
    _words(
        "input output prompt completion cached cache reasoning thinking context text eos bos pad unk cls sep mask "
        "special stop start end sub word vocab next prev previous page continuation sync first last single second "
        "audio image chat generated sampled top forward backward multi two one boarding"
    )
)
"""Directly before "token" or "pass" these say that it is a piece of text, a place in a listing, or a turn."""

NAME_FIELDS: Final = ("name", "Name", "key", "Key", "header", "field", "variable")
VALUE_FIELDS: Final = frozenset({"value", "Value", "val"})
"""The keys of `{"name": "X-Api-Key", "value": ...}`."""

INVISIBLE: Final = (
    "\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164"
    "\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb\\ud800-\\udfff\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a"
    "\\U000e0000-\\U000e0fff"
)
"""Zero-width and filler characters, bidi overrides, line ends, tags, variation selectors but for those of emoji, and
lone surrogates: the inside of a character set."""

_LOOK_ALIKES: Final = {
    int(code, 16): letter
    for letter, codes in {
        "a": "0251 03b1 0430 1d00",
        "b": "0185 042c 044c 13cf",
        "c": "03f2 0441 1d04",
        "d": "0111 0257 0500 0501 1d05",
        "e": "03b5 0435 0454 04bd 1d07",
        "g": "0261 0262 0581",
        "h": "0127 04ba 04bb 0570",
        "i": "0131 0269 026a 03b9 0456 04cf",
        "j": "03f3 0458 0575 1d0a",
        "k": "0199 03ba 043a 1d0b",
        "l": "0142 029f 217c",
        "m": "043c 1d0d",
        "n": "0274 03b7 043f 0578 057c",
        "o": "00f8 03bf 03c3 043e 0585 1d0f",
        "p": "03c1 0440 1d18",
        "q": "051b 0563",
        "r": "027e 0280 0433 1d26",
        "s": "017f 0282 0455 a731",
        "t": "0167 03c4 0442 1d1b",
        "u": "028b 03c5 057d 1d1c",
        "v": "03bd 0475 1d20",
        "w": "03c9 0461 051d 1d21",
        "x": "03c7 0445",
        "y": "028f 03b3 0443 04af",
        "z": "0290 1d22",
        "A": "0391 0410 13aa a4ee",
        "B": "0392 0412 13f4 a4d0",
        "C": "03f9 0421 13df a4da",
        "D": "0110 13a0 a4d3",
        "E": "0395 0415 13ac a4f0",
        "G": "050c 13c0 a4d6",
        "H": "0397 041d 13bb a4e7",
        "I": "0399 0406 04c0 a4f2",
        "J": "0408 13ab a4d9",
        "K": "039a 041a 13e6 a4d7",
        "L": "0141 13de a4e1",
        "M": "039c 041c 13b7 a4df",
        "N": "039d a4e0",
        "O": "00d8 039f 041e 0555 a4f3",
        "P": "03a1 0420 13e2 a4d1",
        "R": "01a6 13a1 a4e3",
        "S": "0405 054f 13da a4e2",
        "T": "03a4 0422 13a2 a4d4",
        "U": "054d a4f4",
        "V": "0474 13d9 a4e6",
        "W": "051c 13b3 a4ea",
        "X": "03a7 0425 a4eb",
        "Y": "03a5 0423 04ae a4ec",
        "Z": "0396 13c3 a4dc",
    }.items()
    for code in codes.split()
}
"""Latin letters for letters of other scripts that look like them, after the table of confusables in Unicode's UTS 39.

NFKD already takes care of full-width, mathematical, circled and accented letters.
"""


def fold(text: str) -> str:
    """Return the text with look-alike letters made Latin, accents and invisible characters dropped; case stays."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.translate(_LOOK_ALIKES))
    shown = (char for char in decomposed if unicodedata.category(char) not in ("Mn", "Me", "Cf", "Cs"))
    return "".join(shown).translate(_LOOK_ALIKES)
