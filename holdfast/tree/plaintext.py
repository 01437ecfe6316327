"""Secrets in plain text, in any file: known formats, and values that are made like a secret under a key that is called one.

A key's name is a hint, never enough: what counts is the value. A value that is judged is nowhere kept.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from holdfast.tree.placeholders import entropy, is_hash, is_placeholder, is_reference
from holdfast.tree.tokens import Token, decoded, lines_with, tokens


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of a key. What the last word says counts: `token-file` is a path, `password_hash` a hash.
_PASSWORD = _words(
    """
    password passwd passphrase pass pwd passwort kennwort passcode requirepass masterauth psk
    """
)
_SECRET = _PASSWORD | _words(
    """
    secret secrets token tokens jwt pat credential credentials bearer apikey apitoken authkey authtoken hmac
    presharedkey privatekey secretkey accesskey
    """
)
_OF_KEY = _words(
    """
    api access private secret encryption encrypt auth master signing shared session app application admin
    account storage hmac pre preshared preauth cookie license service client webhook aes jwt crypt cipher data
    recovery write read unseal root security bot push user
    """
)
_ELSE = _words(
    """
    name names ref refs file files path paths dir id ids arn url uri endpoint host hosts hostname length len
    size ttl expiry expires expiration expire lifetime duration age type types kind enabled enable disabled
    policy policies hash hashed sha sha1 sha256 sha512 digest checksum fingerprint algorithm alg method header
    headers field prefix suffix issuer audience namespace version format mode label labels annotation key_id
    public pub limit limits count rotation interval timeout class template store provider regex pattern
    selector property env var variable description help title placeholder example rev revision commit etag
    integrity required optional existing validity scopes scope claim claims unencrypted domain server port
    location from source mount device data_source used manager rotate renew create creation request requests
    review reviews reviewer exchange address automount count usage number index list cert certificate crt csr
    salt iterations rounds realm username user login email mail account region bucket zone tenant cluster
    group role site project resource vault item section
    """
)
_NOT_ONE = _words(
    """
    hash hashed checksum checksums digest sha sha1 sha256 sha512 fingerprint generate encrypted sealed public
    """
)
_HARMLESS = _ELSE - frozenset(
    {"address", "url", "uri", "headers", "header", "vault", "item", "section", "from", "source", "list", "data_source"}
)
_SIGNED = re.compile(
    r"(?i)x-(?:amz|goog)-(?:algorithm|credential|date|expires|signedheaders)$"
)  # a part of an address that is signed for a time: a name and a scope, no secret
# What a line must hold to be looked at; in small letters.
_HINTS = (
    *("pass", "pwd", "kennwort", "secret", "token", "jwt", "credential", "bearer", "psk", "hmac", "_pat", "-pat"),
    *("masterauth", "key", "auth", "curl", "identified", "@", ":*"),
)
_NAMES_ONE = re.compile(
    r"(?i)pass|pwd|kennwort|secret|token|jwt|credential|bearer|psk|hmac|[_-]pat(?![a-z])|masterauth|[a-z][_.-]?key|authorization"
)
_VALUE = r"(?:\"(?P<dq{n}>(?:[^\"\\]|\\.)*)\"|'(?P<sq{n}>(?:[^'\\]|\\.)*)'|(?P<raw{n}>[^\s\"',;&|`)\]}}>][^\s\"',;&|`)\]}}]*))"
_ASSIGNED = re.compile(
    r"(?<![\w/])(?<!\$\{)(?P<key>--?[A-Za-z][\w./-]*|[A-Za-z_][\w./-]*)[\"']?\]?\s*(?P<sep>:=|=>|=(?!=)|:(?![:/]))\s*(?:!!?\w+\s+)?"
    + _VALUE.format(n="")
)
_TYPE_OF_TEXT = re.compile(
    r":\s*&?(?:'\w+\s+)?(?:str|String|string)\s*="
)  # what a language says of a name before its value
_ARGUMENT = re.compile(r"(?<![\w-])--(?P<key>[A-Za-z][\w-]*)(?P<sep>\s+|[\"'],\s*)" + _VALUE.format(n=""))
_ELEMENT = re.compile(r"<(?P<key>[A-Za-z][\w.-]*)>(?P<raw>[^<>]+)</")
_NAMED = re.compile(
    r"^[\s\[{-]*[\"']?(?:name|key|variable|envName|env_name)[\"']?\s*[:=]\s*[\"']?(?P<key>[A-Za-z_][\w.-]*)[\"']?\s*,?\s*(?:#.*)?$"
)
_VALUE_OF = re.compile(r"^\s*(?:-\s+)?[\"']?value[\"']?\s*[:=]\s*" + _VALUE.format(n=""))
_PAIR = re.compile(
    r"[\"']?\b(?:name|key)[\"']?\s*:\s*[\"']?(?P<key>[A-Za-z_][\w.-]*)[\"']?\s*,\s*[\"']?value[\"']?\s*:\s*"
    + _VALUE.format(n="")
)
_DEFAULT = re.compile(r"\$\{(?P<key>\w+):[-=](?P<raw>[^}${]+)\}")
_IN_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://(?P<user>[^\s/:@\"'<>{}]{0,64}):(?P<raw>[^\s/@\"'<>]{3,}|[^\s@\"'<>]*[^\s@\"'<>/]{3,})@(?P<host>[\w.\[\]-]+)"
)
_TYPED = re.compile(r"\b(?:curl|wget|http)\b.*\s(?:-u|--user)[ =]?[\"']?[^\s:\"'$]+:(?P<raw>[^\s\"'@]+)")
_OTHERS: tuple[tuple[str, list[str], re.Pattern[str]], ...] = (
    ("a password for curl", ["-u", "--user"],
     _TYPED),
    ("an Authorization header", ["uthorization"],
     re.compile(r"(?i)\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|token|apikey|key)[ :]+"
                r"(?!(?:my|your)?[_-]?(?:token|secret|key)[_-]?\d{0,3}\b)(?P<raw>[^\s\"'\\,;]+)")),
    ("a database's password", ["DENTIFIED", "dentified", "ASSWORD", "assword"],
     re.compile(r"(?i)\b(?:identified\s+(?:with\s+\S+\s+)?by|(?:with|role|user)\b[^;'\"]*\bpassword)\s+[\"'](?P<raw>[^\"']+)[\"']")),
    ("a password in a .netrc line", ["login"], re.compile(r"(?i)\blogin\s+\S+\s+password\s+(?P<raw>\S+)")),
    ("a password for sshpass", ["sshpass"], re.compile(r"\bsshpass\s+-p\s*[\"']?(?P<raw>[^\s\"']+)")),
    ("a password for docker login", ["login"],
     re.compile(r"\b(?:docker|podman|helm registry|skopeo|crane|oras)\s+(?:\w+\s+)?login\b.*\s-p[ =]?[\"']?(?P<raw>[^\s\"']+)")),
    ("a password for Redis", ["requirepass", "masterauth"], re.compile(r"^\s*(?:requirepass|masterauth)\s+[\"']?(?P<raw>[^\s\"']+)")),
    ("a password in a .pgpass line", [":*", ":5432:"], re.compile(r"^[\w.*-]+:(?:\d+|\*):[\w*-]+:[\w*-]+:(?P<raw>\S+)$")),
)  # fmt: skip
_ANY_OTHER = re.compile("|".join(re.escape(part) for _, parts, _ in _OTHERS for part in parts))
_BASIC = re.compile(
    r"(?i)(?:\bauthorization[\"']?\s*[:=]\s*[\"']?basic\s+|[\"']?\bauth[\"']?\s*:\s*[\"']?)(?P<raw>[A-Za-z0-9+/]{8,}={0,2})(?=[\"'\s,}]|$)"
)
_CODE = tuple(
    f".{e}"
    for e in _words(
        """
        py js ts tsx jsx mjs go rs java kt rb php cs c cpp lua css scss html vue svelte swift rego
        cue jsonnet libsonnet nix
        """
    )
)
_HERE = re.compile(r"localhost|127\.\d+\.\d+\.\d+|host\.docker\.internal")
_PROSE = (".md", ".mdx", ".rst", ".adoc", ".txt")
_LOCKED = re.compile(
    r"(?i)(?:^|/)(?:package-lock\.json|yarn\.lock|pnpm-lock\.yaml|go\.sum|\.terraform\.lock\.hcl|[^/]*\.(?:map|svg|min\.js|lock))$"
)
_LABEL = re.compile(r"(?i)[a-z ]*(?:passw[o0]rd|passphrase|secret|token|key|pin|code)\d?:")
_FIRST_GUESSES = re.compile(
    r"(?i)p[a@]ssw[o0]rd\d{0,4}!?|admin\d{0,4}|root|secret|change[-_]?(?:me|it)|letmein|guest|default|postgres|mysql|redis|minio(?:admin|123)|grafana|prom-operator|12345\d*"
)
_TWO_NAMES = re.compile(r"\s*-\s+[\w-]+:[a-z]+(?:_[a-z0-9]+){2,}\s*")  # an entry of a list, no key with a value
_EXAMPLE = re.compile(r"(?im)^\s*(?:#|//|;|\*).*\b(?:e\.g\b|for example|example|looks like|such as).*$")
_WORD = re.compile(r"[^\s\"'=`<>]{16,}")


def in_text(name: str, text: str, *, within_secret: bool = False) -> Iterator[Token]:
    """The secrets of a file: of known formats in every file, under a telling key in settings, manifests, scripts and code.

    *within_secret*: the text is a value of a Secret, where what is called a password need not look like one.
    """
    shown = {word for said in _EXAMPLE.finditer(text) for word in _WORD.findall(said[0])} if "#" in text else set()
    if shown:  # what a comment gives as an example is none where it stands again
        text = "\n".join("" if not shown.isdisjoint(_WORD.findall(line)) else line for line in text.split("\n"))
    known = list(tokens(text))
    yield from known
    if _LOCKED.search(name):
        return
    lines, taken = text.split("\n"), {p.line for p in known}
    code, prose = name.lower().endswith(_CODE), name.lower().endswith(_PROSE)
    for number in lines_with(_HINTS, text.lower()):
        line = lines[number - 1]
        if len(line) > 20_000:
            continue
        if not prose and (pair := _NAMED.match(line)) and hint(pair["key"]):
            for below in range(number, min(number + 2, len(lines))):
                value = _VALUE_OF.match(lines[below])
                if value is None and re.match(r"\s*-\s|\s*valueFrom\b|\s*$", lines[below]):
                    break
                if value and below + 1 not in taken and _judged(pair["key"], *_text_of(value), within_secret):
                    yield Token(below + 1, f"the value of {pair['key']}")
                    taken.add(below + 1)
        elif number not in taken and (what := _in_line(line, code=code, prose=prose, within_secret=within_secret)):
            yield Token(number, what)
            taken.add(number)


def _in_line(line: str, *, code: bool, prose: bool, within_secret: bool = False) -> str:  # noqa: PLR0911  one return a form
    """What is secret in a line; empty where nothing is."""
    for found in _IN_ADDRESS.finditer(line) if "@" in line and "://" in line else ():
        here = prose and _HERE.fullmatch(found["host"])  # a text tells how to try it at home
        if not here and _is_password_in_address(found["user"], found["raw"], found["host"]):
            return "a password in an address"
    for what, parts, form in _OTHERS if _ANY_OTHER.search(line) else ():
        if any(p in line for p in parts) and (said := form.search(line)) and _made_like_password(said["raw"]):
            return what
    if not _NAMES_ONE.search(line) and "auth" not in line:
        return ""
    if (login := _BASIC.search(line)) and _is_login(decoded(login["raw"])):
        return "a name and a password in base64"
    if prose or line.lstrip().startswith(("#", "//", ";", "<!--", "/*", "* ")) or _TWO_NAMES.fullmatch(line):
        return ""
    line = _TYPE_OF_TEXT.sub(" =", line) if code and ":" in line else line
    for form in (_PAIR, _ELEMENT, _DEFAULT, _ARGUMENT, _ASSIGNED):
        for found in form.finditer(line):
            value, quoted = _text_of(found)
            if form is _ARGUMENT and found["sep"][0] in "\"'" and not quoted:
                continue  # the words of a program that declares the argument, not its value
            if not (code and not quoted) and _judged(found["key"], value, quoted, within_secret):
                return f"the value of {found['key'].lstrip('-')}"
    return ""


def _is_login(pair: str) -> bool:
    return ":" in pair and pair.isprintable() and _made_like_password(pair.partition(":")[2])


def _text_of(found: re.Match[str]) -> tuple[str, bool]:
    """The value of an assignment, and whether it stands between quotation marks."""
    groups = found.groupdict()
    quoted = groups.get("dq") if groups.get("dq") is not None else groups.get("sq")
    return (quoted, True) if quoted is not None else (groups.get("raw") or "", False)


def _judged(key: str, value: str, quoted: bool, within_secret: bool) -> bool:  # noqa: PLR0911  one return a doubt
    """Whether a value under a key is a secret."""
    strength = hint(key)
    if not strength or not _may_be(value) or "://" in value or _is_no_value(key, value):
        return False
    if not quoted and re.search(r"[(){}\[\]<>,;]|::|\?\.|^[&*]", value):
        return False  # code
    if " " in value.strip() or re.fullmatch(r"[A-Z0-9]+(?:_[A-Z0-9]+)+", value):
        return False  # a sentence, a variable
    if is_opaque(value):
        return True
    if not quoted and re.fullmatch(r"\w+(?:\.[A-Za-z_]\w*)+", value):
        return False  # a name in code
    if strength == "password" and within_secret:
        return not _is_plain_name(key, value)
    return strength == "password" and _made_like_password(value)


def _is_no_value(key: str, value: str) -> bool:
    """Whether it is the name of a field again, a label before an input, or the fingerprint of the key that signs."""
    same = value.lower().replace("-", "_")
    named = "_" in same and key.lower().replace("-", "_").endswith(same)
    return named or _is_fingerprint(key, value) or _LABEL.fullmatch(value) is not None


def _is_fingerprint(key: str, value: str) -> bool:
    """Of the public key that somebody signs with. A key of 20 bytes is written the same, mostly in lower case: only OpenPGP's own names tell."""
    if re.search(r"(?i)gpg|pgp", key):
        return re.fullmatch(r"(?:0x)?[0-9A-Fa-f]{40}", value) is not None
    return bool(re.search(r"(?i)sign(?:ing)?[_-]?key$", key) and re.fullmatch(r"(?:0x)?[0-9A-F]{40}", value))


def in_secret(key: str, value: str) -> str:  # noqa: PLR0911  one return a form
    """What is secret in a value of a Secret object, decoded; empty where nothing is. Here a password need not look like one."""
    value = value.strip()
    if found := next(tokens(value), None):
        return found.what
    if "\n" in value or value.startswith(("{", "[")) or (" " in value and "=" in value):
        return next((p.what for p in in_text(key, value, within_secret=True)), "")
    if what := _in_line(value, code=True, prose=True):
        return what
    words, strength = words_of(key), hint(key)
    if not _may_be(value):
        return ""
    if strength and "://" not in value:
        return f"the value of {key}" if len(value) >= 6 and not _is_plain_name(key, value) else ""
    if set(words) & {"webhook", "address", "url", "uri"} and re.search(r"https?://[^/\s]+/.*(?:hook|token|key)", value):
        return f"the address in {key}" if is_opaque(value.rstrip("/").rpartition("/")[2].rpartition("=")[2]) else ""
    if (words and words[-1] in _HARMLESS) or "://" in value or "@" in value:
        return ""
    hexadecimal = re.fullmatch(r"[0-9a-f]{32,}", value) is not None
    return f"the value of {key}" if is_opaque(value) and (len(value) >= 16 or hexadecimal) else ""


def in_secret_bytes(key: str, raw: bytes) -> str:
    """The same for what is no text: some random bytes are a key, many are a file."""
    words = words_of(key)
    if words and words[-1] in _HARMLESS:
        return ""
    return f"the value of {key}" if 16 <= len(raw) <= 512 and (hint(key) or words[-1:] == ["key"]) else ""


def of_data(value: str) -> str | bytes:
    """What a value of a Secret's ``data`` stands for: text, bytes, or itself where it is no base64."""
    try:
        raw = base64.b64decode("".join(value.split()), validate=True)
    except ValueError:
        return value
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def words_of(key: str) -> list[str]:
    """The words of a key: ``dbPassword``, ``DB_PASSWORD`` and ``db-password`` are two."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", key.strip("-\"'"))
    return [w for w in re.split(r"[\W_]+", apart.lower()) if w]


def hint(key: str) -> str:
    """What a key's name hints at: ``password``, ``secret``, or nothing."""
    words = words_of(key)
    while words and words[-1].isdigit():
        words.pop()
    if _SIGNED.match(key) or key.lower().startswith("data-"):  # the latter is a page's own
        return ""
    if not words or words[-1] in _ELSE or not _NOT_ONE.isdisjoint(words):
        return ""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _PASSWORD or last.endswith(("password", "passwd", "passphrase")):
        return "password"
    if last in _SECRET or last.endswith(("secret", "token", "apikey", "secretkey", "authkey")):
        return "secret"
    if last in ("key", "value", "raw", "b64", "base64", "plain", "string", "text"):
        return "secret" if before in _OF_KEY or (last != "key" and before in _SECRET | {"key"}) else ""
    return ""


def is_first_guess(key: str, value: str) -> bool:
    """Whether what stands under a password's key is a word that anybody tries first: it may hold a place, or be the password."""
    return hint(key) == "password" and _FIRST_GUESSES.fullmatch(value.strip()) is not None


def is_any_password(key: str, value: str) -> bool:
    """Whether something stands under a password's key that isn't put in later: what is applied as one is one, however weak it is."""
    said = value.strip()
    known = hint(key) == "password" and len(said) > 1 and said.lower() not in ("true", "false", "null", "none")
    return known and not is_reference(said) and not is_hash(said) and "$" not in said


def is_own_name_in_address(text: str) -> bool:
    """Whether an address logs somebody in with a password that is their name, or a part of the host's: a place to fill, or the password."""
    return any(
        found["raw"].lower() in (found["user"].lower(), *re.split(r"[.:-]", found["host"].lower()))
        and len(found["raw"]) > 3
        for found in (_IN_ADDRESS.finditer(text) if "@" in text and "://" in text else ())
    )


_WEAK = re.compile(
    r"(?i)[\"']?(?P<key>[A-Za-z][\w.-]*(?:password|passwd|passphrase)|password|passwd|secret)[\"']?\s*(?::=|=(?!=)|:(?![:/=]))\s*[\"']?(?P<raw>[^\s\"'#;,]{3,})[\"']?\s*[,;]?\s*(?:\s#.*)?$"
)
_NO_VALUE = re.compile(
    r"(?i)(?:true|false|null|none|nil|yes|no|on|off|string|required|optional|\d+|.*[(){}<>$%\[\]|&].*|/.*|.*[./](?:ya?ml|txt|json)|~)"
)


_LOGIN_HASH = re.compile(
    r"\$\$?2[abxy]\$\$?\d\d\$\$?[./A-Za-z0-9]{53}"
    r"|\$\$?(?:1|5|6|apr1)\$\$?(?:rounds=\d+\$\$?)?[./A-Za-z0-9]{1,16}\$\$?[./A-Za-z0-9]{22,}"
    r"|\$\$?(?:7|y|gy)\$\$?[./A-Za-z0-9]+\$\$?[./A-Za-z0-9]{0,64}\$\$?[./A-Za-z0-9]{40,}"
    r"|\$\$?argon2(?:id?|d)\$\$?v=\d+\$[^\s\"';]{30,}|\$\$?pbkdf2[\w-]*\$\$?[^\s\"';]{30,}|\$\$?scrypt\$\$?[^\s\"';]{30,}"
)
_OF_POSTGRES = re.compile(r"SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]{8,}\$[A-Za-z0-9+/=]{20,}")
_TOLD = re.compile(
    r"(?i)^[\W_]*(?:[a-z]+\s+)?(?:password|passwort|kennwort|passwd|pwd|initial root token|unseal key \d+)[*_`\s]*[:=][*_`\"'\s]*(?P<raw>[^\s`\"']+)"
)


def login_hashes(text: str) -> Iterator[int]:
    """The lines of a text that hold the hash of a password that somebody logs in with: whoever has it can try words at leisure."""
    if "$" not in text or not (_LOGIN_HASH.search(text) or _OF_POSTGRES.search(text)):
        return
    for number, line in enumerate(text.split("\n"), 1):
        found = _LOGIN_HASH.search(line) or _OF_POSTGRES.search(line)
        if found and not is_placeholder(found[0].rpartition("$")[2]):
            yield number


def told_passwords(name: str, text: str) -> Iterator[int]:
    """The lines of a guide that tell a password which is made like one, or again and again one that anybody tries first."""
    if name.lower().endswith(_PROSE):
        guessed = []
        for number, line in enumerate(text.split("\n"), 1):
            told = _TOLD.match(line) if len(line) < _LONG_LINE else None
            said = told["raw"].rstrip("*_.,") if told else ""
            if said and _made_like_password(said):
                yield number
            elif _FIRST_GUESSES.fullmatch(said or _typed(line)):
                guessed.append(number)
        yield from guessed if len(guessed) > 1 else ()  # once it is an example's


def _typed(line: str) -> str:
    """The password in a command that a guide has typed."""
    found = _TYPED.search(line) if "-u" in line and len(line) < _LONG_LINE else None
    return found["raw"] if found else ""


def has_random_part(line: str) -> bool:
    """Whether something in a line looks drawn by lot."""
    return any(is_opaque(word) for word in re.findall(r"[^\s\"'=:,]{12,}", line))


_LONG_LINE = 500  # no setting of a person is that long, and a search of it is slow


def weak(text: str) -> Iterator[str]:
    """The keys of a text that are called as a password and have a plain word: maybe the password, and too weak to be told from a word."""
    for line in text.splitlines():
        said = len(line) < _LONG_LINE and not line.lstrip().startswith(("#", "//", ";", "*"))
        found = _WEAK.search(line) if said else None
        if found is None or _NO_VALUE.fullmatch(found["raw"]):
            continue
        if not (is_reference(found["raw"]) or is_placeholder(found["raw"]) or is_hash(found["raw"])):
            yield found["key"]


def given_to_a_machine(text: str) -> Iterator[str]:
    """The keys of cloud-init's passwords in a text that aren't put in later: a machine takes whatever stands there."""
    for line in text.splitlines():
        found = _WEAK.search(line) if len(line) < _LONG_LINE and not line.lstrip().startswith("#") else None
        if found and is_any_password(found["key"], found["raw"]):
            yield found["key"]


_GIVEN = re.compile(r"--(?P<key>[A-Za-z][\w-]*(?:secret|password|token))[= ][\"']?(?P<raw>[^\s\"'#,\]]{3,})")


def given_as_words(text: str) -> Iterator[str]:
    """The arguments of commands in a text that are called as a secret and have a value that isn't put in later."""
    for line in text.splitlines() if "--" in text else ():
        found = _GIVEN.search(line) if len(line) < _LONG_LINE and not line.lstrip().startswith("#") else None
        said = found["raw"] if found else ""
        if found and not (
            is_reference(said) or is_placeholder(said) or is_hash(said) or "$" in said or said.startswith("/")
        ):
            yield found["key"]


def _may_be(value: str) -> bool:
    """Whether a value isn't one of the things that are never secret."""
    if len(value) < 6 or "@sha256:" in value or is_reference(value) or is_placeholder(value) or is_hash(value):
        return False
    if re.match(r"(?:~|\.{1,2})?/|[A-Za-z]:\\|[\w.-]+/[\w.-]+/[\w./-]+$", value) and not is_opaque(
        value.rpartition("/")[2]
    ):
        return False  # a path
    return not re.fullmatch(
        r"(?i)[\d.,:_-]+|v?\d+(?:\.\d+)+[\w.+-]*|\d+(?:ms|s|m|h|d|w|mi|gi|ki|mb|gb|kb)|[\w.+-]+@[\w-]+\.[\w.-]+|[a-z0-9.*-]+\.(?:svc|local|lan|com|org|net|io|dev|ya?ml|json|toml|txt|pem|key|crt|env|sh)(?::\d+)?|\d{4}-\d\d-\d\d.*",
        value,
    )


def _is_plain_name(key: str, value: str) -> bool:
    """Whether a value says its own key again, or the name of another object or key (``db-credentials``)."""
    said = words_of(value)
    return bool(said) and (
        said == words_of(key) or (len(said) > 1 and said[-1] in _SECRET | _ELSE | {"key"} and value.islower())
    )


def _is_password_in_address(user: str, value: str, host: str) -> bool:
    if (
        len(value) < 4
        or value.lower() == user.lower()
        or value.lower() in host.lower()
        or is_reference(value)
        or is_placeholder(value)
        or is_reference(user)
    ):
        return False
    return (
        is_opaque(value)
        or _made_like_password(value)
        or (len(value) >= 6 and not re.fullmatch(r"[a-z]+(?:[-_][a-z]+)+|pass\w*|pw|port|\d+", value))
    )


def _made_like_password(value: str) -> bool:
    """Whether a text is made as people make passwords: letters with digits or signs, long enough, no name and no version."""
    if len(value) < 6 or not _may_be(value) or entropy(value) < 2.2:
        return False
    if re.fullmatch(
        r"[a-z]+(?:[-_./][a-z]+)*[-_]?\d{0,2}|[A-Z0-9]+(?:_[A-Z0-9]+)+|[A-Z]+|[A-Z]?[a-z]+(?:[A-Z][a-z]+)*", value
    ):
        return False  # a name
    kinds = sum(bool(re.search(p, value)) for p in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9\s]"))
    return (kinds >= 3 and len(value) >= 8) or (
        kinds >= 2
        and bool(re.search(r"[A-Za-z]", value))
        and bool(re.search(r"\d|[!@#$%^&*+=?]", value))
        and len(value) >= 8
    )


def is_opaque(value: str) -> bool:
    """Whether a text looks drawn by lot: no words in it, much in each letter."""
    if len(value) < 12 or not re.fullmatch(r"[A-Za-z0-9+/=_.~!@#%^&*?:-]+", value) or is_placeholder(value):
        return False
    if re.fullmatch(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        return True
    parts = [p for p in re.split(r"[^A-Za-z0-9]+", value) if p]
    odd = sum(len(p) for p in parts if _no_word(p))
    return odd >= 10 and odd * 2 >= len(value) and entropy(value) >= (2.8 if len(value) < 20 else 3.0)


def _no_word(part: str) -> bool:
    """Whether a run of letters and digits is no word, no number, and no words joined by capitals."""
    if len(part) < 5 or part.isdigit():
        return False
    changes = sum(_sort(a) != _sort(b) for a, b in zip(part, part[1:], strict=False))
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", part)
    known = sum(len(w) for w in words if len(w) >= 4 and w.isalpha() and _speakable(w.lower()))
    if known * 2 > len(part):
        return False
    return changes * 5 >= len(part) or not all(_speakable(w.lower()) for w in words if w.isalpha())


def _sort(letter: str) -> int:
    return 0 if letter.islower() else 1 if letter.isupper() else 2


def _speakable(word: str) -> bool:
    """Whether a word of small letters has vowels as words have, and nowhere five consonants together: one that two letters write is one."""
    vowels = sum(c in "aeiouy" for c in word)
    return vowels * 5 >= len(word) and not re.search(r"[^aeiouy]{5}|[aeiouy]{4}", re.sub("[cst]h|ck", "c", word))
