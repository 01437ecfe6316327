"""Formats of tokens and keys: texts that open something and tell so by their form, as their issuers document it."""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from holdfast.tree.placeholders import is_placeholder

_B = r"(?<![A-Za-z0-9_-])"  # nothing that could belong to a longer word stands before
_E = r"(?![A-Za-z0-9_-])"  # … or after

_AWS_ID = "an AWS access key id"  # it opens nothing without its secret, which cert-manager, say, takes from a Secret
_SECRET_IS_ELSEWHERE = re.compile(r"SecretRef\b|secretKeyRef\b|passwordSecret|existingSecret")

# What it is, a text that each of its kind holds (a cheap look before the pattern), and its form. Where only a part of it is secret, that is `value`.
_FORMATS: tuple[tuple[str, str, str], ...] = (
    # clusters and machines
    ("a k3s or RKE2 join token", "K10", _B + r"K10[0-9a-f]{64}::(?:[\w.-]+:)?(?P<value>[^\s\"'`,;}<>]{6,})"),
    ("an age secret key", "AGE-SECRET-KEY-", r"\bAGE-SECRET-KEY-(?:1|PQ-1)[A-Z0-9]{58,}\b"),
    ("a Tailscale key", "tskey-", _B + r"tskey-(?:auth|api|client|webhook|scim)-[A-Za-z0-9]{6,}-[A-Za-z0-9]{16,}" + _E),
    (
        "a symmetric key (JWK)",
        "\"oct\" 'oct'",
        r"[\"']kty[\"']\s*:\s*[\"']oct[\"'].*[\"']k[\"']\s*:\s*[\"'](?P<value>[A-Za-z0-9_-]{20,})",
    ),
    (
        "a symmetric key (JWK)",
        "\"oct\" 'oct'",
        r"[\"']k[\"']\s*:\s*[\"'](?P<value>[A-Za-z0-9_-]{20,})[\"'].*[\"']kty[\"']\s*:\s*[\"']oct[\"']",
    ),
    ("a Vault token", "hvs. hvb. hvr.", _B + r"hv[sbr]\.[A-Za-z0-9_-]{24,}" + _E),
    ("a 1Password service account token", "ops_", _B + r"ops_eyJ[A-Za-z0-9_-]{80,}=*"),
    (
        "a Doppler token",
        "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.",
        _B + r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]+\.)?[A-Za-z0-9]{40,44}" + _E,
    ),
    ("a Pulumi token", "pul-", _B + r"pul-[0-9a-f]{40}" + _E),
    ("a Terraform Cloud token", ".atlasv1.", _B + r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70}" + _E),
    (
        "a kubeadm join command's token",
        "--token",
        r"\bkubeadm\s+join\b.*--token[ =](?P<value>[a-z0-9]{6}\.[a-z0-9]{16})\b",
    ),
    ("a Netbird or Headscale key", "-preauth", _B + r"(?:hskey|nbp)-preauth-[A-Za-z0-9_-]{20,}" + _E),
    ("a Headscale key", "hskey-", _B + r"hskey-(?:auth|api)-[A-Za-z0-9_-]{12,}-[A-Za-z0-9_-]{32,}" + _E),
    ("a Netbird token", "nbp_", _B + r"nbp_[A-Za-z0-9]{36}" + _E),
    # clouds
    (_AWS_ID, "AKIA ASIA", _B + r"(?:AKIA|ASIA)[A-Z2-7]{16}" + _E),
    ("an AWS session or bearer key", "ABSK", _B + r"ABSK[A-Za-z0-9+/]{100,}={0,2}"),
    ("a Google API key", "AIza", _B + r"AIza[A-Za-z0-9_-]{35}" + _E),
    ("a Google OAuth secret", "GOCSPX-", _B + r"GOCSPX-[A-Za-z0-9_-]{28}" + _E),
    ("a Google access token", "ya29.", _B + r"ya29\.[A-Za-z0-9_-]{30,}" + _E),
    ("an Azure storage key", "ccountKey=", r"(?:Shared)?Acc(?:ess|ount)Key=(?P<value>[A-Za-z0-9+/]{43,88}={0,2})"),
    ("an Azure access key", "SharedAccessKey=", r"SharedAccessKey=(?P<value>[A-Za-z0-9+/]{42,86}={0,2})"),
    ("an Azure client secret", "Q~", r"(?<![\w~.-])[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}(?![\w~-])"),
    ("an Azure shared access signature", "sig=", r"\bs[vp]=[^\s\"']*[?&]sig=(?P<value>[A-Za-z0-9%+/]{40,}(?:%3D|=))"),
    ("a DigitalOcean token", "doo_v1_ dop_v1_ dor_v1_ dot_v1_", _B + r"do[oprt]_v1_[0-9a-f]{64}" + _E),
    ("a Cloudflare origin CA key", "v1.0-", _B + r"v1\.0-[0-9a-f]{24}-[0-9a-f]{100,}" + _E),
    ("a Cloudflare token", "cfut_ cfat_ cfk_", _B + r"cf(?:ut|at|k)_[A-Za-z0-9]{40}[0-9a-f]{8}" + _E),
    ("a Fly.io token", "fm1_ fm1r_ fm1a_ fm2_", _B + r"fm[12][ar]?_[A-Za-z0-9+/=_-]{60,}"),
    ("a Backblaze application key", "K000 K001 K002 K003 K004 K005", _B + r"K00[0-9][A-Za-z0-9+/]{27}" + _E),
    # forges, registries, packages
    ("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", _B + r"gh[pousr]_[A-Za-z0-9]{36,251}" + _E),
    ("a GitHub token", "github_pat_", _B + r"github_pat_[A-Za-z0-9_]{60,}" + _E),
    (
        "a GitLab token",
        "glpat- gldt- glrt- glrtr- glcbt- glptt- glft- glsoat- glagent- glimt- gloas-",
        _B + r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|soat|agent|imt|oas)-[A-Za-z0-9_.-]{20,}",
    ),
    (
        "a Bitbucket or Atlassian token",
        "ATBB ATCTT3 ATATT3",
        _B + r"(?:ATBB[A-Za-z0-9]{28,}|ATCTT3[A-Za-z0-9_=-]{60,}|ATATT3[A-Za-z0-9_=-]{60,})",
    ),
    ("an npm token", "npm_", _B + r"npm_[A-Za-z0-9]{36}" + _E),
    ("a PyPI token", "pypi-", _B + r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    ("a Docker Hub token", "dckr_", _B + r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}" + _E),
    ("a Hugging Face token", "hf_", _B + r"hf_[A-Za-z0-9]{34,}" + _E),
    ("a RubyGems key", "rubygems_", _B + r"rubygems_[0-9a-f]{48}" + _E),
    # chats and mail
    (
        "a Slack token",
        "xoxa- xoxb- xoxe- xoxp- xoxo- xoxs- xoxr- xoxe. xapp-",
        _B + r"(?:xox[abeposr](?:\.xox[bp])?-[A-Za-z0-9-]{20,}|xapp-\d-[A-Za-z0-9-]{20,})",
    ),
    (
        "a Slack webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/T?[A-Z0-9]{6,}/[A-Z0-9]{6,}/(?P<value>[A-Za-z0-9/]{16,})",
    ),
    (
        "a Discord webhook",
        "/webhooks/",
        r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{15,}/(?P<value>[A-Za-z0-9_-]{50,})",
    ),
    ("a Discord webhook", "discord://", r"discord://(?P<value>[A-Za-z0-9_-]{50,})@\d{15,}"),
    (
        "a Discord bot token",
        "discord Discord DISCORD bot_token BOT_TOKEN botToken",
        _B + r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}" + _E,
    ),
    ("a Telegram bot token", ":AA", r"(?<![A-Za-z0-9_-])(?:bot)?\d{8,10}:AA[A-Za-z0-9_-]{32,33}" + _E),
    (
        "a Teams webhook",
        "webhook.office.com",
        r"webhook\.office\.com/webhookb2/[^\s\"']+/IncomingWebhook/(?P<value>[0-9a-f]{32})",
    ),
    ("a SendGrid key", "SG.", _B + r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _E),
    ("a Mailgun key", "key-", _B + r"key-[0-9a-f]{32}" + _E),
    ("a Brevo key", "xkeysib-", _B + r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}" + _E),
    ("a Resend key", "resend RESEND Resend", _B + r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}" + _E),
    ("a Twilio key", "twilio Twilio TWILIO", _B + r"SK[0-9a-f]{32}" + _E),
    # services
    ("a Stripe key", "k_live_", _B + r"[sr]k_live_[A-Za-z0-9]{20,}" + _E),
    (
        "an OpenAI key",
        "sk-",
        _B + r"sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20})",
    ),
    ("an Anthropic key", "sk-ant-", _B + r"sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{60,}"),
    ("an OpenRouter key", "sk-or-", _B + r"sk-or-v1-[0-9a-f]{64}" + _E),
    ("a Groq key", "gsk_", _B + r"gsk_[A-Za-z0-9]{48,}" + _E),
    ("a Grafana token", "glsa_ glc_", _B + r"(?:glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_eyJ[A-Za-z0-9+/]{40,}={0,2})"),
    ("a Sentry token", "sntrys_ sntryu_", _B + r"sntry[su]_[A-Za-z0-9+/=_-]{60,}"),
    ("a New Relic key", "NRAK-", _B + r"NRAK-[A-Z0-9]{27}" + _E),
    ("a Linear key", "lin_api_", _B + r"lin_api_[A-Za-z0-9]{40}" + _E),
    ("a Notion token", "ntn_", _B + r"ntn_[A-Za-z0-9]{40,}" + _E),
    ("a Postman key", "PMAK-", _B + r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}" + _E),
    ("a Shopify token", "shpat_ shpca_ shppa_ shpss_", _B + r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}" + _E),
    ("a CrowdSec or Cloudflare tunnel token", "eyJhIjoi", _B + r"eyJhIjoi[A-Za-z0-9+/_-]{100,}={0,2}"),
    ("a JSON web token", "eyJ", _B + r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}" + _E),
)
_COMPILED = tuple((what, hints.split(), re.compile(form)) for what, hints, form in _FORMATS)
_KEYS = ("PRIVATE KEY", "PuTTY-User-Key-File-", "LS0tLS1CRUdJTi")
_HINTS = tuple(dict.fromkeys([*(hint for _, hints, _ in _COMPILED for hint in hints), *_KEYS]))
_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_BODY = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}={0,2}")
_NEWLINE = re.compile(r"\n")
_ENCODED = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{20,}={0,2}")


@dataclass(frozen=True)
class Token:
    """A secret in a text: its line, from 1, and what it is. Its value is nowhere kept."""

    line: int
    what: str


def tokens(text: str) -> Iterator[Token]:
    """Every token of a known format in *text*."""
    there = {hint for hint in _HINTS if hint in text}
    if not there:
        return  # most files hold none
    lines = text.split("\n")
    found: dict[int, dict[str, None]] = {}
    for what, hints, form in _COMPILED:
        if there.isdisjoint(hints):
            continue
        for number in lines_with(hints, text):
            if _has(form, lines[number - 1]) and not (what == _AWS_ID and _secret_is_elsewhere(lines, number)):
                found.setdefault(number, {})[what] = None
    for number in lines_with(_KEYS, text):
        if _is_private_key(lines, number):
            found.setdefault(number, {})["a private key"] = None
    for number in sorted(found):
        yield from (Token(number, what) for what in found[number])


def lines_with(hints: Iterable[str], text: str) -> list[int]:
    """The numbers of the lines that hold one of some texts, without a look at the others: most files hold none."""
    starts: list[int] = []
    numbers: set[int] = set()
    for hint in hints:
        at = text.find(hint)
        while at >= 0:
            starts = starts or [0, *(m.end() for m in _NEWLINE.finditer(text))]
            number = bisect.bisect_right(starts, at)
            numbers.add(number)
            at = text.find(hint, starts[number]) if number < len(starts) else -1
    return sorted(numbers)


def _secret_is_elsewhere(lines: list[str], number: int) -> bool:
    return bool(_SECRET_IS_ELSEWHERE.search("\n".join(lines[max(number - 6, 0) : number + 5])))


def _has(form: re.Pattern[str], line: str) -> bool:
    for found in form.finditer(line):
        value = found["value"] if "value" in form.groupindex else found[0]
        if not is_placeholder(value) and not _only_shown(found[0]):
            return True
    return False


def _only_shown(value: str) -> bool:
    """Whether a JSON web token isn't one, or is the one that documentation shows."""
    if not value.startswith("eyJ") or value.count(".") != 2:
        return False
    head, payload = (decoded(part) for part in value.split(".")[:2])
    try:
        return "alg" not in json.loads(head) or "John Doe" in payload
    except (ValueError, TypeError):
        return True


def _is_private_key(lines: list[str], number: int) -> bool:
    """Whether a private key begins at a line: its body follows, below or in the same line (a sentence about keys has none)."""
    line = lines[number - 1]
    if any("PRIVATE KEY-----" in decoded(m[0][: len(m[0]) // 4 * 4]) for m in _ENCODED.finditer(line)):
        return True
    if line.startswith("PuTTY-User-Key-File-"):
        return any(below.startswith("Private-Lines:") for below in lines[number : number + 60])
    begin = _BEGIN.search(line)
    if begin is None:
        return False
    rest = line[begin.end() :].replace("\\n", "\n").replace("\\r", "")
    body = [rest, *([] if "-----END" in rest else lines[number : number + 8])]
    found = next((m[0] for part in body if (m := _BODY.search(part))), "")
    return bool(found) and not is_placeholder(found)


def decoded(value: str) -> str:
    """A base64 text (of either alphabet, padded or not) as text; empty where it is none."""
    plain = "".join(value.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
