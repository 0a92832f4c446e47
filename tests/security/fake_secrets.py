"""Fake secrets, made at test time: formats as their issuers and public scanners describe them, and unknown ones.

The table here is written on its own, not derived from the package's, with the full documented lengths.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable
from typing import Final, TypeAlias

from kairos_async.security import Redactor, sanitize_exception
from tests.security.corpora import chars

Make: TypeAlias = Callable[[random.Random], str]


def after(prefix: str, alphabet: str, count: int, suffix: str = "") -> Make:
    """Return a maker of a prefix, so many random characters, and a suffix."""
    return lambda rng: prefix + chars(rng, alphabet, count) + suffix


def joined(*parts: str | tuple[str, int]) -> Make:
    """Return a maker of literal parts and random ones, given as (alphabet, count)."""
    return lambda rng: "".join(part if isinstance(part, str) else chars(rng, *part) for part in parts)


def json_web_token(rng: random.Random) -> str:
    """Return a token in JWS compact form (RFC 7515): header, claims, signature."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": str(rng.getrandbits(40)), "iat": 1714564800}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*coded, chars(rng, "b64url", 43)])


def discord_token(rng: random.Random) -> str:
    """Return a bot token: the id in base64, a time, a signature."""
    number = base64.b64encode(str(rng.randrange(10**17, 10**18)).encode()).decode()
    return f"{number}.{chars(rng, 'b64url', 6)}.{chars(rng, 'b64url', 27)}"


def uuid_after(prefix: str) -> Make:
    """Return a maker of a prefix and a UUID."""
    return lambda rng: prefix + str(uuid.UUID(int=rng.getrandbits(128), version=4))


FORMATS: Final[dict[str, Make]] = {
    "AWS access key id": after("AKIA", "base32", 16),
    "AWS temporary key id": after("ASIA", "base32", 16),
    "AWS Bedrock key": after("ABSK", "b64", 132),
    "Alibaba key id": after("LTAI", "alnum", 20),
    "Azure client secret": joined(("alnum", 3), ("digit", 1), "Q~", ("alnum", 34)),
    "Azure storage connection": joined("AccountName=acme;AccountKey=", ("b64", 86), "=="),
    "Azure service bus": joined("SharedAccessKeyName=root;SharedAccessKey=", ("b64", 43), "="),
    "Google API key": after("AIza", "b64url", 35),
    "Google access token": after("ya29.", "b64url", 120),
    "Google client secret": after("GOCSPX-", "b64url", 28),
    "Google refresh token": after("1//0", "b64url", 100),
    "DigitalOcean token": after("dop_v1_", "hex", 64),
    "DigitalOcean OAuth": after("doo_v1_", "hex", 64),
    "Cloudflare origin key": joined("v1.0-", ("hex", 24), "-", ("hex", 146)),
    "Heroku key": after("HRKU-AA", "b64url", 58),
    "Fly.io token": after("fo1_", "b64url", 43),
    "Tailscale key": joined("tskey-auth-", ("alnum", 12), "CNTRL-", ("alnum", 32)),
    "Aiven password": after("AVNS_", "b64url", 19),
    "Vault service token": after("hvs.", "b64url", 95),
    "Vault batch token": after("hvb.", "b64url", 140),
    "Terraform Cloud token": joined(("alnum", 14), ".atlasv1.", ("b64url", 67)),
    "Pulumi token": after("pul-", "hex", 40),
    "Doppler token": after("dp.pt.", "alnum", 43),
    "OpenShift token": after("sha256~", "b64url", 43),
    "Supabase token": after("sbp_", "hex", 40),
    "PlanetScale token": after("pscale_tkn_", "b64url", 43),
    "PlanetScale password": after("pscale_pw_", "b64url", 43),
    "Databricks token": after("dapi", "hex", 32),
    "Anthropic key": after("sk-ant-api03-", "b64url", 93, "AA"),
    "Anthropic admin key": after("sk-ant-admin01-", "b64url", 93, "AA"),
    "OpenAI key": joined("sk-", ("alnum", 20), "T3BlbkFJ", ("alnum", 20)),
    "OpenAI project key": joined("sk-proj-", ("b64url", 74), "T3BlbkFJ", ("b64url", 74)),
    "OpenAI service key": joined("sk-svcacct-", ("b64url", 58), "T3BlbkFJ", ("b64url", 58)),
    "OpenRouter key": after("sk-or-v1-", "hex", 64),
    "DeepSeek key": after("sk-", "hex", 32),
    "Langfuse key": uuid_after("sk-lf-"),
    "LangSmith key": joined("lsv2_pt_", ("hex", 32), "_", ("hex", 10)),
    "Groq key": after("gsk_", "alnum", 52),
    "xAI key": after("xai-", "alnum", 80),
    "Replicate token": after("r8_", "alnum", 37),
    "Perplexity key": after("pplx-", "alnum", 48),
    "Hugging Face token": after("hf_", "letter", 34),
    "ElevenLabs key": after("sk_", "hex", 48),
    "NVIDIA key": after("nvapi-", "b64url", 64),
    "Tavily key": after("tvly-", "alnum", 32),
    "Pinecone key": joined("pcsk_", ("alnum", 6), "_", ("alnum", 63)),
    "Jina key": after("jina_", "alnum", 60),
    "Fireworks key": after("fw_", "alnum", 24),
    "GitHub token": after("ghp_", "alnum", 36),
    "GitHub OAuth token": after("gho_", "alnum", 36),
    "GitHub app token": after("ghs_", "alnum", 36),
    "GitHub fine-grained token": joined("github_pat_", ("alnum", 22), "_", ("alnum", 59)),
    "GitLab token": after("glpat-", "b64url", 20),
    "GitLab runner token": after("glrt-", "b64url", 20),
    "GitLab deploy token": after("gldt-", "b64url", 20),
    "npm token": after("npm_", "alnum", 36),
    "PyPI token": after("pypi-AgEIcHlwaS5vcmc", "b64url", 150),
    "RubyGems key": after("rubygems_", "hex", 48),
    "crates.io token": after("cio", "alnum", 32),
    "Docker token": after("dckr_pat_", "b64url", 27),
    "Artifactory key": after("AKCp", "alnum", 69),
    "Buildkite token": after("bkua_", "lowdigit", 40),
    "Octopus key": after("API-", "updigit", 26),
    "SonarQube token": after("sqp_", "hex", 40),
    "Sourcegraph token": after("sgp_", "hex", 40),
    "Postman key": joined("PMAK-", ("hex", 24), "-", ("hex", 34)),
    "Prefect key": after("pnu_", "alnum", 36),
    "Slack bot token": joined("xoxb-", ("digit", 12), "-", ("digit", 12), "-", ("alnum", 24)),
    "Slack user token": joined("xoxp-", ("digit", 12), "-", ("digit", 12), "-", ("digit", 12), "-", ("hex", 32)),
    "Slack app token": joined("xapp-1-A", ("updigit", 10), "-", ("digit", 13), "-", ("hex", 64)),
    "Slack webhook": joined(
        "https://hooks.slack.com/services/T", ("updigit", 10), "/B", ("updigit", 10), "/", ("alnum", 24)
    ),
    "Discord webhook": joined("https://discord.com/api/webhooks/", ("digit", 18), "/", ("b64url", 68)),
    "Discord bot token": discord_token,
    "Telegram bot token": joined(("digit", 9), ":AA", ("b64url", 33)),
    "Twilio key": after("SK", "hex", 32),
    "SendGrid key": joined("SG.", ("b64url", 22), ".", ("b64url", 43)),
    "Brevo key": joined("xkeysib-", ("hex", 64), "-", ("alnum", 16)),
    "Mailgun key": after("key-", "hex", 32),
    "Mailchimp key": joined(("hex", 32), "-us", ("digit", 2)),
    "Stripe live key": after("sk_live_", "alnum", 24),
    "Stripe restricted key": after("rk_live_", "alnum", 99),
    "Stripe webhook secret": after("whsec_", "alnum", 32),
    "Square token": after("sq0atp-", "b64url", 22),
    "Square secret": after("sq0csp-", "b64url", 43),
    "Shopify token": after("shpat_", "hex", 32),
    "Flutterwave key": joined("FLWSECK_TEST-", ("hex", 32), "-X"),
    "Plaid token": uuid_after("access-sandbox-"),
    "EasyPost key": after("EZAK", "alnum", 54),
    "Shippo token": after("shippo_live_", "hex", 40),
    "Duffel token": after("duffel_live_", "b64url", 43),
    "Grafana token": joined("glsa_", ("alnum", 32), "_", ("hex", 8)),
    "New Relic key": after("NRAK-", "updigit", 27),
    "Dynatrace token": joined("dt0c01.", ("updigit", 24), ".", ("updigit", 64)),
    "Sentry token": after("sntryu_", "hex", 64),
    "PostHog key": after("phx_", "alnum", 43),
    "Airtable token": joined("pat", ("alnum", 14), ".", ("hex", 64)),
    "Contentful token": after("CFPAT-", "b64url", 43),
    "Typeform token": joined("tfp_", ("alnum", 44), "_", ("alnum", 14)),
    "Atlassian token": after("ATATT3xFfGF0", "b64url", 180, "=1A2B3C4D"),
    "Linear key": after("lin_api_", "alnum", 40),
    "Notion token": after("ntn_", "alnum", 46),
    "Figma token": after("figd_", "b64url", 40),
    "HubSpot token": uuid_after("pat-na1-"),
    "Dropbox token": after("sl.", "b64url", 140),
    "Facebook page token": after("EAAC", "alnum", 150),
    "Adobe secret": after("p8e-", "lowdigit", 32),
    "1Password key": joined("A3-", *(part for n in (6, 6, 5, 5, 5) for part in (("updigit", n), "-")), ("updigit", 5)),
    "age key": after("AGE-SECRET-KEY-1", "updigit", 58),
    "JSON Web Token": json_web_token,
    "database URL": joined("postgresql://app:", ("alnum", 20), "@db.example.com:5432/app"),
    "Redis URL": joined("redis://:", ("alnum", 24), "@cache.example.com:6379/0"),
}
"""Makers by name. All but the last parts of URLs are secret; `hidden_part` says which."""

UNKNOWN: Final[dict[str, Make]] = {
    "prefix, live, 32": after("acme_live_", "alnum", 32),
    "prefix, sk, 40": after("zed-sk-", "alnum", 40),
    "prefix, 24": after("wdgt_", "alnum", 24),
    "32 letters and digits": after("", "alnum", 32),
    "20 letters and digits": after("", "alnum", 20),
    "40 of base64url": after("", "b64url", 40),
    "40 of base64": after("", "b64", 40),
    "64 of base64, padded": after("", "b64", 62, "=="),
    "32 hexadecimal": after("", "hex", 32),
    "40 hexadecimal": after("", "hex", 40),
    "64 hexadecimal": after("", "hex", 64),
    "36 lower case and digits": after("", "lowdigit", 36),
    "24 capitals and digits": after("", "updigit", 24),
    "UUID": uuid_after(""),
}
"""Random strings of formats that no rule names; they count only with a key word near them."""


def hidden_part(name: str, secret: str) -> str:
    """Return the part of a fake secret that must not be seen."""
    if name.endswith("URL"):
        return secret.rpartition("@")[0].rpartition(":")[2]
    if "=" in secret and secret.startswith(("AccountName", "SharedAccess")):
        return secret.rpartition("Key=")[2]
    if name.endswith("webhook"):
        return secret.rpartition("/")[2]
    return secret


def _dumped(value: object) -> str:
    return json.dumps(Redactor().redact(value), ensure_ascii=False)


CARRIERS: Final[dict[str, Callable[[str], str]]] = {
    "value": lambda secret: _dumped({"note": secret}),
    "sentence": lambda secret: _dumped({"note": f"I used {secret} for the call."}),
    "nested value": lambda secret: _dumped({"a": [{"b": {"c": ["x", secret]}}]}),
    "list": lambda secret: _dumped(["x", secret]),
    "tuple": lambda secret: _dumped(("x", secret)),
    "dict key": lambda secret: _dumped({secret: 1, "x": 2}),
    "bytes": lambda secret: _dumped({"raw": b"got " + secret.encode()}),
    "exception": lambda secret: " ".join(sanitize_exception(RuntimeError(f"call with {secret} failed"))),
    "cause": lambda secret: " ".join(sanitize_exception(_caused_by(secret))),
    "log line": lambda secret: Redactor().text(f"2024-05-01 12:00:00,123 INFO client: using {secret} now"),
    "URL": lambda secret: Redactor().text(f"GET https://api.example.com/v1/items?page=2&k={secret}&x=1 200"),
    "header pair": lambda secret: _dumped({"headers": [["Accept", "*/*"], ["X-Thing", f"Bearer {secret}"]]}),
    "header text": lambda secret: Redactor().text(f"> Accept: */*\r\n> X-Thing: {secret}\r\n"),
    "JSON in a string": lambda secret: _dumped({"body": json.dumps({"result": {"note": secret}})}),
    "JSON in JSON": lambda secret: _dumped({"body": json.dumps({"inner": json.dumps({"note": f"a\n{secret}"})})}),
    "assignment": lambda secret: Redactor().text(f"MY_VALUE={secret}\nexport OTHER='{secret}'"),
}
"""What becomes of a secret in each place in which it can travel, as text."""

NEAR: Final[dict[str, Callable[[str], str]]] = {
    "value": lambda secret: _dumped({"acme_api_key": secret}),
    "sentence": lambda secret: _dumped({"note": f"The API key is {secret}."}),
    "list": lambda secret: _dumped(["x", f"token {secret}"]),
    "tuple": lambda secret: _dumped(("x", f"secret: {secret}")),
    "dict key": lambda secret: _dumped({f"token={secret}": 1}),
    "bytes": lambda secret: _dumped({"raw": b"access key: " + secret.encode()}),
    "exception": lambda secret: " ".join(sanitize_exception(RuntimeError(f"Invalid API key provided: {secret}"))),
    "log line": lambda secret: Redactor().text(f"2024-05-01 12:00:00,123 DEBUG auth: token={secret}"),
    "URL": lambda secret: Redactor().text(f"GET https://api.example.com/v1/items?page=2&access_token={secret}&x=1 200"),
    "header pair": lambda secret: _dumped([("Authorization", f"Bearer {secret}")]),
    "header text": lambda secret: Redactor().text(f"> Accept: */*\r\n> X-Acme-Key: {secret}\r\n"),
    "JSON in a string": lambda secret: _dumped({"body": json.dumps({"result": {"client_secret": secret}})}),
    "assignment": lambda secret: Redactor().text(f"ACME_SECRET_KEY={secret}\n"),
    "spaced assignment": lambda secret: Redactor().text(f"acme.password = {secret}\n"),
}
"""The same for unknown formats, each with a key word near."""


def _caused_by(secret: str) -> BaseException:
    error = RuntimeError("the call failed")
    error.__cause__ = ValueError({"request": ["x", secret]})
    error.add_note(f"it used {secret}")
    return error
