"""The formats in which well-known services issue secrets, as a table.

Each row is a name, one or more templates and the place where the format is published. A template is literal text with
parts such as `{alnum:36}` (exactly 36 letters or digits), `{hex:8-12}` or `{b64url:20-}` (20 or more). It is the rule
and its own test vector: `shapes.py` turns it into a pattern, the tests fill it with random characters. Nothing that can
be written as a template takes more than linear time to search for.

Sources. `gitleaks <id>` is a rule of the gitleaks project (MIT licence), `kingfisher <file>` a rule file of the
Kingfisher project, `noseyparker <file>` one of Nosey Parker (both Apache 2.0); prefixes, alphabets and lengths are
facts taken from there. `vendor` is a prefix that the vendor itself shows to its customers, with a length that public
scanners agree on; others name the standard. Lengths are lower bounds wherever the prefix alone is telling: services
lengthen their tokens without notice.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class SecretFormat(NamedTuple):
    """One published format: `templates` are alternatives, `source` is where the format is described."""

    name: str
    templates: tuple[str, ...]
    source: str


def _row(name: str, source: str, *templates: str) -> SecretFormat:
    return SecretFormat(name, templates, source)


SECRET_FORMATS: Final[tuple[SecretFormat, ...]] = (
    # Cloud providers
    _row("aws-access-key-id", "gitleaks aws-access-token", "AKIA{base32:16}", "ASIA{base32:16}", "ABIA{base32:16}"),
    _row("aws-bedrock-key", "gitleaks aws-amazon-bedrock-api-key-long-lived", "ABSK{b64:109-}"),
    _row("aws-bedrock-session-key", "gitleaks aws-amazon-bedrock-api-key-short-lived", "bedrock-api-key-{b64:40-}"),
    _row("alibaba-access-key-id", "gitleaks alibaba-access-key-id", "LTAI{alnum:20}"),
    _row("azure-client-secret", "gitleaks azure-ad-client-secret", "^{tilde:3}{digit:1}Q~{tilde:31-}"),
    _row("azure-storage-key", "kingfisher azurestorage", "AccountKey={b64:86-}"),
    _row("azure-shared-access-key", "kingfisher azure", "SharedAccessKey={b64:43-}"),
    _row("azure-signed-url", "Azure docs: service SAS, parameter sig", "sig={percent:43-}", "sig={b64:43-}"),
    _row("google-api-key", "gitleaks gcp-api-key", "AIza{b64url:35}"),
    _row("google-oauth-token", "kingfisher google", "ya29.{b64url:20-}"),
    _row("google-oauth-secret", "kingfisher google", "GOCSPX-{b64url:28}"),
    _row("google-refresh-token", "Google docs: OAuth 2.0 token sizes and prefixes", "^1//0{b64url:40-}"),
    _row("digitalocean", "gitleaks digitalocean-*", "dop_v1_{hex:64}", "doo_v1_{hex:64}", "dor_v1_{hex:64}"),
    _row("cloudflare-origin-ca", "gitleaks cloudflare-origin-ca-key", "v1.0-{hex:24}-{hex:146}"),
    _row("heroku", "gitleaks heroku-api-key-v2", "HRKU-AA{b64url:58}"),
    _row("scalingo", "gitleaks scalingo-api-token", "tk-us-{b64url:48}"),
    _row(
        "flyio",
        "gitleaks flyio-access-token",
        "fo1_{b64url:43}",
        "fm1a_{b64:100-}",
        "fm1r_{b64:100-}",
        "fm2_{b64:100-}",
    ),
    _row("tailscale", "kingfisher tailscale", "tskey-{lower:3-12}-{alnum:10-}"),
    _row("aiven", "vendor", "AVNS_{b64url:19-}"),
    _row("vault", "gitleaks vault-service-token", "hvs.{b64url:24-}", "hvb.{b64url:24-}", "hvr.{b64url:24-}"),
    _row("terraform-cloud", "gitleaks hashicorp-tf-api-token", "^{alnum:14}.atlasv1.{b64url:60-}"),
    _row("pulumi", "gitleaks pulumi-api-token", "^pul-{hex:40}"),
    _row("doppler", "gitleaks doppler-api-token", "^dp.pt.{alnum:40-}", "^dp.st.{b64url:40-}", "^dp.sa.{alnum:40-}"),
    _row("openshift", "gitleaks openshift-user-token", "sha256~{b64url:43}"),
    _row("supabase", "kingfisher supabasetoken", "sbp_{hex:40}"),
    _row(
        "planetscale",
        "gitleaks planetscale-*",
        "pscale_tkn_{b64url:32-}",
        "pscale_oauth_{b64url:32-}",
        "pscale_pw_{b64url:32-}",
    ),
    _row("clickhouse-cloud", "gitleaks clickhouse-cloud-api-secret-key", "^4b1d{alnum:38}"),
    _row("databricks", "gitleaks databricks-api-token", "dapi{hex:32}"),
    # Model providers and their tools
    _row("anthropic", "gitleaks anthropic-api-key", "sk-ant-{lowdigit:3-10}-{b64url:20-}"),
    _row("openai", "gitleaks openai-api-key", "sk-{alnum:32-}"),
    _row(
        "openai-project",
        "gitleaks openai-api-key",
        "sk-proj-{b64url:40-}",
        "sk-svcacct-{b64url:40-}",
        "sk-admin-{b64url:40-}",
    ),
    _row("openrouter", "vendor", "sk-or-v1-{hex:64}"),
    _row("langfuse", "vendor", "sk-lf-{hex:8}-{hex:4}-{hex:4}-{hex:4}-{hex:12}"),
    _row("langsmith", "vendor", "lsv2_pt_{hex:32}_{hex:10}", "lsv2_sk_{hex:32}_{hex:10}"),
    _row("groq", "kingfisher groq", "gsk_{alnum:52}"),
    _row("xai", "kingfisher xai", "xai-{word:70-}"),
    _row("replicate", "kingfisher replicate", "r8_{b64url:37}"),
    _row("perplexity", "gitleaks perplexity-api-key", "pplx-{alnum:48}"),
    _row("huggingface", "gitleaks huggingface-access-token", "hf_{alnum:30-}", "api_org_{alnum:34}"),
    _row("elevenlabs", "kingfisher elevenlabs", "^sk_{hex:48}"),
    _row("nvidia", "vendor", "nvapi-{b64url:60-}"),
    _row("tavily", "noseyparker tavily", "tvly-{b64url:24-}"),
    _row("pinecone", "vendor", "pcsk_{word:40-}"),
    _row("jina", "noseyparker jina", "jina_{alnum:60}"),
    _row("fireworks", "vendor", "^fw_{alnum:22-}"),
    _row("prefect", "gitleaks prefect-api-token", "pnu_{alnum:36}"),
    # Code hosting, packages, builds
    _row(
        "github-token",
        "gitleaks github-pat",
        "ghp_{alnum:36-}",
        "gho_{alnum:36-}",
        "ghu_{alnum:36-}",
        "ghs_{alnum:36-}",
    ),
    _row("github-refresh", "gitleaks github-refresh-token", "ghr_{alnum:36-}"),
    _row("github-fine-grained", "gitleaks github-fine-grained-pat", "github_pat_{word:40-}"),
    _row("gitlab-personal", "gitleaks gitlab-pat", "glpat-{b64url:20-}", "glptt-{hex:40}", "gldt-{b64url:20-}"),
    _row(
        "gitlab-runner",
        "gitleaks gitlab-runner-*",
        "glrt-{b64url:20-}",
        "GR1348941{b64url:20}",
        "glcbt-{b64url:20-}",
    ),
    _row("gitlab-app", "gitleaks gitlab-*", "gloas-{b64url:64}", "glsoat-{b64url:20-}", "glagent-{b64url:50}"),
    _row("gitlab-feed", "gitleaks gitlab-*", "glft-{b64url:20-}", "glimt-{b64url:25-}", "glffct-{b64url:20-}"),
    _row("npm", "gitleaks npm-access-token", "npm_{alnum:36}"),
    _row("pypi", "gitleaks pypi-upload-token", "pypi-AgE{b64url:50-}"),
    _row("rubygems", "gitleaks rubygems-api-token", "rubygems_{hex:48}"),
    _row("crates", "kingfisher crates", "^cio{alnum:32}"),
    _row("clojars", "gitleaks clojars-api-token", "CLOJARS_{lowdigit:60}"),
    _row("docker", "kingfisher dockerhub", "dckr_pat_{b64url:27}", "dckr_oat_{b64url:27-}"),
    _row("artifactory", "gitleaks artifactory-*", "AKCp{alnum:69}", "cmVmd{alnum:59}"),
    _row("buildkite", "kingfisher buildkite", "bkua_{lowdigit:40}"),
    _row("circleci", "kingfisher circleci", "CCIPAT_{alnum:22}_{hex:40}"),
    _row("octopus", "gitleaks octopus-deploy-api-key", "^API-{updigit:26}"),
    _row(
        "harness",
        "gitleaks harness-api-key",
        "^pat.{b64url:22}.{alnum:24}.{alnum:20}",
        "^sat.{b64url:22}.{alnum:24}.{alnum:20}",
    ),
    _row("sonarqube", "kingfisher sonarqube", "sqp_{hex:40}", "squ_{hex:40}", "sqa_{hex:40}"),
    _row("sourcegraph", "gitleaks sourcegraph-access-token", "sgp_{hex:40}", "sgp_{hex:16}_{hex:40}"),
    _row("infracost", "gitleaks infracost-api-token", "^ico-{alnum:32}"),
    _row("postman", "gitleaks postman-api-token", "PMAK-{hex:24}-{hex:34}"),
    _row("readme", "gitleaks readme-api-token", "rdme_{lowdigit:70}"),
    # Messages and mail
    _row("slack-bot", "gitleaks slack-bot-token", "xoxb-{digit:10-13}-{digit:10-13}-{alnum:18-}"),
    _row("slack-user", "gitleaks slack-user-token", "xoxp-{digit:10-13}-{digit:10-13}-{digit:10-13}-{alnum:28-}"),
    _row("slack-app", "gitleaks slack-app-token", "xapp-{digit:1}-{updigit:9-12}-{digit:10-14}-{alnum:32-}"),
    _row("slack-config", "gitleaks slack-config-*", "xoxe.xoxp-{digit:1}-{alnum:100-}", "xoxe-{digit:1}-{alnum:100-}"),
    _row(
        "slack-legacy",
        "gitleaks slack-legacy-*",
        "xoxa-{b64url:16-}",
        "xoxr-{b64url:16-}",
        "xoxs-{b64url:16-}",
        "xoxo-{b64url:16-}",
    ),
    _row("slack-webhook", "gitleaks slack-webhook-url", "hooks.slack.com/services/{path:40-}"),
    _row(
        "slack-workflow",
        "gitleaks slack-webhook-url",
        "hooks.slack.com/workflows/{path:40-}",
        "hooks.slack.com/triggers/{path:40-}",
    ),
    _row("teams-webhook", "gitleaks microsoft-teams-webhook", ".webhook.office.com/webhookb2/{teams:80-}"),
    _row("discord-webhook", "kingfisher discord", "discord.com/api/webhooks/{digit:17-20}/{b64url:60-}"),
    # The first part of a Discord token is a number in base64, which begins in one of nine ways.
    _row(
        "discord-bot",
        "kingfisher discord",
        *(
            f"^{digit}{{b64url:21-26}}.{{b64url:6}}.{{b64url:27-}}"
            for digit in ["MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"]
        ),
    ),
    _row("zapier-webhook", "kingfisher zapierwebhook", "hooks.zapier.com/hooks/catch/{path:12-}"),
    _row("telegram-bot", "kingfisher telegrambottoken", "{digit:8-10}:AA{b64url:33}"),
    _row("twilio", "gitleaks twilio-api-key", "SK{hex:32}"),
    _row("sendgrid", "gitleaks sendgrid-api-token", "^SG.{b64url:20-24}.{b64url:39-}"),
    _row("brevo", "gitleaks sendinblue-api-token", "xkeysib-{hex:64}-{alnum:16}"),
    _row("mailgun", "kingfisher mailgun", "^key-{hex:32}"),
    _row("mailchimp", "kingfisher mailchimp", "^{hex:32}-us{digit:1-2}"),
    _row("resend", "vendor", "^re_{alnum:8}_{alnum:24}"),
    # Payments and shops
    _row(
        "stripe",
        "gitleaks stripe-access-token",
        "sk_live_{alnum:16-}",
        "sk_test_{alnum:16-}",
        "rk_live_{alnum:16-}",
        "rk_test_{alnum:16-}",
    ),
    _row("stripe-webhook", "vendor", "whsec_{b64:32-}"),
    _row("square", "gitleaks square-access-token", "EAAA{b64url:50-60}", "sq0atp-{b64url:22}", "sq0csp-{b64url:43}"),
    _row(
        "shopify",
        "gitleaks shopify-*",
        "shpat_{hexany:32}",
        "shpca_{hexany:32}",
        "shppa_{hexany:32}",
        "shpss_{hexany:32}",
    ),
    _row("flutterwave", "gitleaks flutterwave-secret-key", "FLWSECK_TEST-{hex:32}-X", "FLWSECK-{hex:32}-X"),
    _row("razorpay", "vendor", "rzp_live_{alnum:14}", "rzp_test_{alnum:14}"),
    _row(
        "plaid",
        "gitleaks plaid-api-token",
        "access-sandbox-{uuid:36}",
        "access-production-{uuid:36}",
        "access-development-{uuid:36}",
    ),
    _row("easypost", "gitleaks easypost-api-token", "EZAK{alnum:54}", "EZTK{alnum:54}"),
    _row("shippo", "gitleaks shippo-api-token", "shippo_live_{hex:40}", "shippo_test_{hex:40}"),
    _row("duffel", "gitleaks duffel-api-token", "duffel_live_{b64url:43}", "duffel_test_{b64url:43}"),
    # Monitoring and data
    _row("grafana", "gitleaks grafana-*", "glsa_{alnum:32}_{hexany:8}", "glc_{b64:32-}", "eyJrIjoi{alnum:70-}"),
    _row("newrelic", "gitleaks new-relic-*", "NRAK-{updigit:27}", "NRIQ-{b64url:32}", "NRII-{b64url:32}"),
    _row("dynatrace", "gitleaks dynatrace-api-token", "dt0c01.{updigit:24}.{updigit:64}"),
    _row("sentry", "gitleaks sentry-*", "sntryu_{hex:64}", "sntrys_{b64:60-}"),
    _row("posthog", "kingfisher posthog", "phx_{word:40-}"),
    _row("airtable", "gitleaks airtable-personnal-access-token", "^pat{alnum:14}.{hex:64}"),
    _row("contentful", "kingfisher contentful", "CFPAT-{b64url:43}"),
    _row("typeform", "kingfisher typeform", "tfp_{b64url:40-}"),
    _row("maxmind", "gitleaks maxmind-license-key", "^{alnum:6}_{alnum:29}_mmk"),
    _row("mapbox", "kingfisher mapbox", "^sk.eyJ{b64url:40-200}.{b64url:20-}"),
    # Work and design tools
    _row("atlassian", "gitleaks atlassian-api-token", "ATATT3{b64url:60-}", "ATCTT3{b64url:60-}"),
    _row("linear", "gitleaks linear-api-key", "lin_api_{alnum:40}", "lin_oauth_{alnum:40-}"),
    _row("notion", "gitleaks notion-api-token", "ntn_{alnum:40-}", "^secret_{alnum:43}"),
    _row("figma", "kingfisher figma", "figd_{b64url:40-}", "figo_{b64url:40-}"),
    _row("frameio", "gitleaks frameio-api-token", "fio-u-{b64url:64}"),
    _row("hubspot", "kingfisher hubspot", "^pat-na1-{uuid:36}", "^pat-eu1-{uuid:36}"),
    _row("dropbox", "kingfisher dropbox", "^sl.{b64url:100-}"),
    _row("facebook", "gitleaks facebook-page-access-token", "EAAC{alnum:100-}", "EAAM{alnum:100-}", "EAAG{alnum:100-}"),
    _row("adobe", "gitleaks adobe-client-secret", "p8e-{lowdigit:32}"),
    _row(
        "onepassword",
        "gitleaks 1password-*",
        "ops_eyJ{b64:200-}",
        "^A3-{updigit:6}-{updigit:6}-{updigit:5}-{updigit:5}-{updigit:5}-{updigit:5}",
    ),
    _row("settlemint", "gitleaks settlemint-*", "sm_aat_{alnum:16}", "sm_pat_{alnum:16}", "sm_sat_{alnum:16}"),
    _row("intra42", "gitleaks intra42-client-secret", "s-s4t2ud-{hex:64}", "s-s4t2af-{hex:64}"),
    # Standards and tools
    _row("jwt", "RFC 7519, RFC 7515 section 3.1", "^eyJ{b64url:10-4000}.eyJ{b64url:10-8000}.{b64url:10-}"),
    _row("age", "gitleaks age-secret-key", "AGE-SECRET-KEY-1{updigit:58}"),
    _row(
        "crypt-hash",
        "crypt(5)",
        "$2a$10${crypt:53}",
        "$2b$12${crypt:53}",
        "$6${crypt:4-16}${crypt:86}",
        "$5${crypt:4-16}${crypt:43}",
    ),
)
