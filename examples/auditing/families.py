"""From what a package says about its licence to one of six families.

Metadata says it in three ways, from the most to the least exact: `License-Expression` (an SPDX expression), `License`
(free text: a name, an SPDX expression, or the licence's whole text) and `Classifier: License :: ...`. The families
follow common usage; they help to sort a thousand packages and are no legal advice.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple


class Family(enum.StrEnum):
    """What a licence asks of those who pass the software on, from the least to the most."""

    PUBLIC_DOMAIN = "public domain"
    PERMISSIVE = "permissive"
    WEAK_COPYLEFT = "weak copyleft"
    STRONG_COPYLEFT = "strong copyleft"
    PROPRIETARY = "proprietary"
    UNKNOWN = "unknown"


STRICTNESS: Final = list(Family)

BY_SPDX_ID: Final[dict[Family, str]] = {
    Family.PUBLIC_DOMAIN: r"cc0-.+|unlicense|cc-pddc|pddl-.+|wtfpl|nist-pd.*|sax-pd.*",
    Family.PERMISSIVE: (
        r"0bsd|afl-.+|apache-.+|blueoak-.+|bsd-.+|bsl-.+|bzip2-.+|cc-by-\d.*|cecill-b|cnri-.+|curl|ecl-.+|fsfap|ftl"
        r"|hpnd.*|ijg|isc|json|libpng.*|mit|mit-.+|mulanpsl-.+|ncsa|ofl-.+|openssl|postgresql|psf-.+|python-.+|tcl"
        r"|unicode-.+|upl-.+|vim|w3c.*|x11.*|xnet|zlib.*|zpl-.+"
    ),
    Family.WEAK_COPYLEFT: r"artistic-.+|cc-by-sa-.+|cddl-.+|cecill-c|cpl-.+|epl-.+|lgpl-.+|mpl-.+|ms-pl|ms-rl",
    Family.STRONG_COPYLEFT: r"agpl-.+|cecill-\d.*|eupl-.+|gfdl-.+|gpl-.+|osl-.+|qpl-.+|rpl-.+|sleepycat",
    Family.PROPRIETARY: r"busl-.+|cc-by-n[cd].*|elastic-.+|polyform-.+|prosperity-.+|sspl-.+|licenseref-.*propriet.*",
}

IN_TEXT: Final[dict[Family, str]] = {
    Family.PUBLIC_DOMAIN: r"public[ -]domain|\bcc0\b|\bunlicense\b|\bwtfpl\b",
    Family.PERMISSIVE: (
        r"\bmit\b|\bexpat\b|\bx11\b|\bbsd|apache|\basl\b|\biscl?\b|\bpsf|python software foundation|\bzlib\b|\bzope\b"
        r"|\bzpl|\bboost\b|\bhpnd\b|historical permission|academic free|\bncsa\b|postgresql|unicode licen|\bcnri\b"
        r"|permission is hereby granted|permission to use, copy|redistribution and use in source|\bcc[ -]by[ -]\d"
    ),
    Family.WEAK_COPYLEFT: (
        r"(?:lesser|library) general public|\blgpl|mozilla public|\bmpl(?:v?\d|\b)|eclipse public"
        r"|\bepl(?:v?\d|\b)|\bcddl|common development and distribution|\bartistic\b|share-?alike|\bcc[ -]by[ -]sa"
    ),
    Family.STRONG_COPYLEFT: (
        r"(?<!lesser )(?<!library )general public licen|\ba?gpl|affero|\beupl|european union public"
    ),
    Family.PROPRIETARY: r"propriet|non-?commercial|end[ -]user licen|\beula\b|all rights reserved\W*$",
}

SAYS_NOTHING: Final = re.compile(
    r"\W*(unknown|none|n/?a|todo|other|dual licen[sc]e|(see )?.*\blicen[sc]e( ?file|\.\w+)?)\W*"
)
"""A `License` that names no licence, such as "UNKNOWN" or "see LICENSE.txt"; asked only where no family is found."""

WHOLE_TEXT: Final = 300
"""Characters from which a `License` is taken for the text of a licence and not for its name."""


class Licence(NamedTuple):
    """A family, what the package declares in its own words (None: nothing), and the field that says so."""

    family: Family
    declared: str | None
    source: str | None


def classify(expression: str | None, text: str | None, classifiers: Iterable[str]) -> Licence:
    """Return the licence that the three fields declare; the first that names a known one decides."""
    first_words = None
    for source, words, family in (
        ("License-Expression", expression, family_of_expression(expression or "")),
        ("License", text, family_of_text(text or "")),
    ):
        if words and family is not Family.UNKNOWN:
            return Licence(family, _in_short(words), source)
        if words and not SAYS_NOTHING.fullmatch(words.lower()):
            first_words = first_words or Licence(Family.UNKNOWN, _in_short(words), source)
    named = [classifier.rpartition(" :: ")[2] for classifier in classifiers if classifier.startswith("License :: ")]
    named = [name for name in named if name not in {"OSI Approved", "DFSG approved"}]
    if not named:
        return first_words or Licence(Family.UNKNOWN, None, None)
    # Several classifiers do not say whether the user may choose among them: the strictest is the careful reading.
    return Licence(strictest(map(family_of_text, named)), ", ".join(named), "Classifier")


def family_of_text(text: str) -> Family:
    """Return the family that free text names: a name, an SPDX expression, several names, or a whole licence."""
    as_expression = family_of_expression(text)
    if as_expression is not Family.UNKNOWN:
        return as_expression
    lowered = text.lower()
    places = {family: re.search(pattern, lowered) for family, pattern in IN_TEXT.items()}
    found = {family: match.start() for family, match in places.items() if match}
    if not found:
        return Family.UNKNOWN
    if len(text) >= WHOLE_TEXT:
        return min(found, key=lambda family: found[family])  # its title, or its first grant; later ones are of others
    choose = min if re.search(r"\bor\b|\bdual\b|\beither\b", lowered) else max
    return choose(found, key=STRICTNESS.index)


def family_of_expression(expression: str) -> Family:
    """Return the family of an SPDX expression, UNKNOWN if it is none.

    Of `A OR B` the user chooses the milder, of `A AND B` both hold and the stricter decides; a part that is not known
    makes an AND unknown and leaves an OR to the others. `WITH` names an exception, which is always a permission: for
    the GPL one to link, so that it becomes a weak copyleft.
    """
    words = re.findall(r"[()]|[^\s()]+", expression)
    values: list[Family] = []
    waiting: list[str] = []
    operand_next = True
    try:
        for word in words:
            operand_next = _step(word, values, waiting, operand_next)
        while waiting:
            _reduce(values, waiting)
    except (IndexError, ValueError):
        return Family.UNKNOWN
    return values[0] if len(values) == 1 and not operand_next else Family.UNKNOWN


def _step(word: str, values: list[Family], waiting: list[str], operand_next: bool) -> bool:
    """Take one word of an expression (Dijkstra's two stacks); return whether an operand must follow."""
    upper = word.upper()
    if operand_next != (upper not in {"AND", "OR", "WITH", ")"}):
        raise ValueError(f"{word!r} is out of place")
    if upper == "(":
        waiting.append("(")
        return True
    if upper == ")":
        while waiting[-1] != "(":
            _reduce(values, waiting)
        waiting.pop()
        return False
    if operand_next:
        if waiting and waiting[-1] == "WITH":
            waiting.pop()  # `word` is the exception's name
            values[-1] = Family.WEAK_COPYLEFT if values[-1] is Family.STRONG_COPYLEFT else values[-1]
        else:
            values.append(_family_of_id(word))
        return False
    # AND binds tighter than OR; WITH belongs to the operand just read.
    while waiting and (waiting[-1] == "AND" or waiting[-1] == upper) and upper != "WITH":
        _reduce(values, waiting)
    waiting.append(upper)
    return True


def _reduce(values: list[Family], waiting: list[str]) -> None:
    operator, right, left = waiting.pop(), values.pop(), values.pop()
    if operator == "AND":
        values.append(strictest([left, right]))
    elif operator == "OR":
        values.append(min(left, right, key=STRICTNESS.index))
    else:
        raise ValueError(f"{operator!r} without its other half")


def _family_of_id(spdx_id: str) -> Family:
    lowered = spdx_id.lower()
    return next((family for family, ids in BY_SPDX_ID.items() if re.fullmatch(ids, lowered)), Family.UNKNOWN)


def strictest(families: Iterable[Family]) -> Family:
    """Return the family that asks the most; UNKNOWN if one is unknown or there are none."""
    return max(families, key=STRICTNESS.index, default=Family.UNKNOWN)


def _in_short(words: str) -> str:
    first_line = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return first_line if len(first_line) <= 60 else first_line[:57] + "..."


def count(families: Sequence[Family]) -> Mapping[str, int]:
    """Return how many there are of each family, all families named."""
    return {family.value: families.count(family) for family in Family}
