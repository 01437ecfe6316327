"""What stands where a secret would and is none: references that something follows, placeholders, and what is only encrypted or hashed."""

from __future__ import annotations

import math
import re

# Something else puts the value there: a shell, Flux, a template, a vault, a program's own settings.
_REFERENCE = re.compile(
    r"""(?xi)
    ^&\w+;$ | %[sdvr]\b | ^\W*@ByteArray\( | ^\$\$?\w+$ | ^%\w+%$ | ^%\(\w+\)s$ | ^@\w+@$ | ^\$__(?:file|env|vault)\{
    | ^!(?:secret|env|env_var|vault|file|include|ref|sub|getatt|findinmap)\b | ^!\w+\s
    | ^(?:op|opsecret|vault|bao|openbao|secret|secrets|secretref|bws?|bitwarden|pass|passwordstore|keyring|keychain
    |gopass|lastpass|keepass|doppler|infisical|env|file|sops|ksops|ssm|awssm|awssecret\w*|awsparamstore|gcpsm|gcpsecret\w*|sm|azurekeyvault|akv|akeyless
    |conjur|arn|urn|valuefrom|dotenv|config|secretsmanager|parameterstore|keyvault|k8s|kubernetes|1password|protonpass|resolve|aws-sm|vals|ref):\S
    | ^ref\+ | ^secretref\+ | ^os\.environ\b | ^(?:process\.|import\.meta\.)?env[./\[] | ^env_ | ^environ\b
    | ^(?:var|local|module|data|each|self|secrets|inputs|vars|steps|needs|github|runner|random_\w+|tls_\w+|hcloud_\w+
    |vault_\w+|onepassword_\w+|settings|config|values|lookup|args|opts|options)\.[a-z_\[]
    | ^projects/[^/]+/secrets/ | ^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}:[\w.-]+:/
    | ^@microsoft\.keyvault | ^<path: | ^<.*>$ | ^\[.*\]$ | ^\{.*\}$
    | ^ej\[\d: | ^(?:enc\[|\$ansible_vault|age-encryption\.org|vault:v\d) | ^-----begin\ (?:age\ encrypted|pgp\ message
    |certificate|trusted|public|rsa\ public|ssh2\ public|x509)
    | ^ag[a-z0-9+/]{200,} | ^wc[a-z]ma[a-z0-9+/]{60,}
    """
)
_IN_IT = re.compile(r"\$\{|\$\(|\$\{\{|\{\{|<%|%\{|\$\[|\bENC\[|__[A-Z][A-Z0-9_]+__|(?<![\w$])\$\$?[A-Za-z_]\w+")
_PLACEHOLDER = re.compile(
    r"""(?xi)
    change[-_\s]?(?:me|it|this) | replace[-_\s]?(?:me|this|with|by)? | place[-_]?holder | exampl | sample | dummy
    | redact | fixme | to[-_]?do\b | insert[-_\s]
    | (?:^|[^a-z])your?[-_\s.]?(?:own|[a-z]+[-_\s]|api|token|key|secret|password|pass|pwd) | ^your
    | my[-_]?(?:super[-_]?)?(?:secret|password|token|api[-_]?key)(?![a-z0-9]*\d{3})
    | x{4,} | \*{3,} | \.{3,} | •{2,} | _{4,} | -{6,} | \?{3,} | not[-_]?(?:a[-_]?)?(?:real|secret|used|set|needed
    |required|important)
    | ^(?:fake|test|unused|ignored?|disabled?|enabled?|generated?|managed|removed|hidden|masked|empty|unset|undefined
    |optional|required|default|temp|tmp|foo|bar|baz|abc|abcd\w*|none|null|nil|n/?a|true|false|yes|no|on|off|auto
    |random|any|set|me|here|secret|password|passwd|passw0rd|token|key|apikey|api[-_]key|admin|root|user|username|guest
    |postgres|redis|mysql)$
    | (?:goes|put|set|fill|paste|enter|add|supply|provide|type)[-_\s]?(?:it|in|your|me|here|this|something|a|the
    |value)\b | [-_\s]here$ | (?:super|top|very)[-_]?secret[-_a-z]*$
    | ^(?:test|my|new|old|default)?[-_]?pass(?:word|wd)?[-_]?\d{0,4}!?$ | deadbeef | ^\d{0,2}0{8,}\d{0,2}$ | qwert
    """
)
# A place to be filled in, or the name of a setting where its value would stand.
_FILLED_IN = re.compile(r"_[A-Z][A-Z0-9_]*_|(?:[A-Z][A-Z0-9]*_)+(?:PASS|PASSWORD|PASSWD|PWD|SECRET|TOKEN|KEY)")
_HASH = re.compile(
    r"""(?xi)
    ^(?:[\w.@+-]+:)?(?:\$(?:2[abxy]?|1|5|6|7|y|apr1|gy|sm3|pbkdf2[\w-]*|argon2(?:id?|d)|scrypt|bcrypt(?:-sha256)?|s0
    |sha1|sha256|md5)\$ | \{(?:ssha\d*|sha\d*|argon2|pbkdf2[\w-]*|bcrypt|crypt)\})
    | ^(?:sha(?:1|224|256|384|512)|md5|blake[23]\w*|h1)[:=-] | ^pbkdf2[:_] | ^scrypt: | ^argon2 | ^scram-sha-
    """
)


def is_placeholder(value: str) -> bool:
    """Whether a text only holds the place of a secret: a word for one, one letter again and again, the alphabet."""
    return bool(_PLACEHOLDER.search(value) or _FILLED_IN.fullmatch(value)) or entropy(value) < 1.9 or _counts_up(value)


def is_reference(value: str) -> bool:
    """Whether a text leads to a secret, or is put in at a later time, or is encrypted."""
    return bool(_REFERENCE.search(value) or _IN_IT.search(value))


def is_hash(value: str) -> bool:
    """Whether a text is a hash or a digest, which opens nothing."""
    return bool(_HASH.search(value))


def entropy(value: str) -> float:
    """Shannon's, in bits a letter."""
    shares = [value.count(c) / len(value) for c in set(value)]
    return -sum(p * math.log2(p) for p in shares)


def _counts_up(value: str) -> bool:
    """Whether much of a text goes through the alphabet or the digits in order."""
    steps = [ord(b) - ord(a) for a, b in zip(value, value[1:], strict=False)]
    return len(value) >= 8 and max(steps.count(1), steps.count(-1)) * 5 > len(steps) * 2
