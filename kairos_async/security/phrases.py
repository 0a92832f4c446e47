"""What the flags of untrusted text look for, as patterns over lower-case text. Every repetition in them is bounded."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from kairos_async.security.late import Late

TEMPLATE_TOKENS: Final = Late(
    r"<\|[\w /.-]{1,40}\|>|<｜[\w▁ ]{1,40}｜>|\[/?inst\]|<</?sys>>|</?s>|<(?:start|end)_of_turn>|\[/?system_prompt\]"
    r"|<(?:bos|eos|pad|unk)>|\[/?(?:available_tools|tool_calls|tool_results)\]",
    re.IGNORECASE,
)
"""Control tokens of the chat templates of ChatML, Llama, Mistral, Gemma, Phi, DeepSeek and Qwen models."""

ROLE_MARKERS: Final = Late(
    r"(?:^|\n)[ >*#\"'`\[(-]{0,8}(?:system|assistant|developer|user|human|ai|admin|tool|function|systeme?|sistema"
    r"|asistente|assistente|benutzer|utilisateur|usuario|система|пользователь|系统|系統|助手|用户|システム|ユーザー)"
    r"(?: (?:message|prompt|override|instruction|note))?[\])*\"'` ]{0,4}[:：]"
    r"|###? ?(?:system|instructions?|human|assistant|user)\b|<(?:system|assistant|user|human|instructions?)>"
    r"|\"role\" ?: ?\"(?:system|assistant|developer|tool)\""
)

TOOL_CALLS: Final = Late(
    r"</?(?:tool_call|function_call|function_calls|invoke|tool_use|tools?)\b|\"(?:tool_calls|function_call|tool_use)\""
    r"|```tool_code|\baction input ?:"
)

_WITHIN: Final = r"(?:\W{1,3}\w{1,24}){0,6}?\W{1,3}"
"""Up to six words between the two halves of a phrase. Words and what separates them have no character in common, so
that there is one way to read a text and nothing to go back to."""
_SHORT: Final = r"[^\n。！？.!?]{0,16}"
"""The same for scripts that do not separate words."""


class _Phrases(NamedTuple):
    """Phrases of some languages: `pattern` is tried only on a text that has one of the `clues`."""

    clues: tuple[str, ...]
    late: Late[str]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled expression."""
        return self.late.pattern


def _phrases(clues: str, verbs: str, objects: str, between: str = _WITHIN) -> _Phrases:
    return _Phrases(tuple(clues.split()), Late(f"(?:{verbs}){between}(?:{objects})"))


_IMPERATIVES: Final[tuple[_Phrases, ...]] = (
    _phrases(  # English
        "ignore disregard forget override bypass discard neglect skip drop",
        r"\b(?:ignore|disregard|forget|override|bypass|discard|neglect|skip|drop)",
        r"(?:instructions?|prompts?|rules?|guidelines?|directives?|orders?|constraints?|guardrails?|safeguards?)\b",
    ),
    _phrases(
        "reveal print show repeat output leak disclose send dump exfiltrate tell",
        r"\b(?:reveal|print|show|repeat|output|leak|disclose|send|dump|exfiltrate|tell me)",
        r"(?:system prompt|instructions?|api.keys?|passwords?|credentials?|secrets?|environment variables?)\b",
    ),
    _Phrases(
        ("you", "instruction", "anything now", "developer mode", "jailbreak"),
        Late(
            r"\byou (?:are|must|will|should) now (?:act|be|become|behave|obey|answer|respond|in|a|an|the)\b"
            r"|\bfrom now on\b.{0,20}\byou\b|\bnew (?:system )?instructions?\b ?:|\bdo anything now\b"
            r"|\bdeveloper mode\b"
            r"|\b(?:pretend|act as if|imagine) (?:that )?you(?:'re| are| have no)\b|\bjailbreak"
        ),
    ),
    _phrases(  # German, Dutch
        "ignorier vergiss vergess missacht überschreib uberschreib negeer vergeet",
        r"\b(?:ignorier|vergiss|vergesst|vergessen sie|missachte|überschreibe|uberschreibe|negeer|vergeet)\w{0,3}",
        r"(?:anweisung|instruktion|regel|vorgabe|befehl|systemprompt|instructie|aanwijzing|opdracht)",
    ),
    _phrases(  # French, Spanish, Portuguese, Italian
        "ignor oubli olvid esque dimentica descart tiens hagas desconsider",
        r"\b(?:ignor[a-zéèàá]{1,5}|oubli\w{1,4}|olvid\w{1,3}|esque[cç]\w{1,3}|dimentica\w{0,3}|descart\w{1,3}"
        r"|n[ée] tiens? pas compte|no hagas caso|desconsider\w{1,3})",
        r"(?:instruc|instruç|istruzion|instruction|consigne|regla|regra|regole|règle|regle|órdenes|ordenes|ordens"
        r"|indicacion|prompt)",
    ),
    _phrases(  # Polish, Turkish
        "ignoruj zapomnij pomi", r"\b(?:zignoruj|zapomnij|pomiń|pomin|ignoruj)", r"(?:instrukcj|polece|zasad|wytyczn)"
    ),
    _phrases(
        "önceki onceki yukar tüm tum",
        r"\b(?:önceki|onceki|yukarıdaki|yukaridaki|tüm|tum)",
        r"(?:talimat|yönerge|yonerge|kural)",
    ),
    _phrases(  # Russian, Ukrainian
        "игнор забуд обращай ігнор",
        r"\b(?:игнориру|забуд|проигнориру|не обращай|ігноруй)\w{0,4}",
        r"(?:инструкц|указани|правил|команд|вказівк)",
    ),
    _phrases("تجاهل انس", "(?:تجاهل|انسى|انس)", "(?:التعليمات|الأوامر|القواعد|تعليمات)"),  # Arabic
    # Chinese, Japanese, Korean, Hindi
    _phrases(
        "忽略 無視 无视 忘 不要理会",
        "忽略|無視|无视|忘记|忘掉|忘記|不要理会",
        "指令|指示|提示|规则|規則|命令|说明",
        _SHORT,
    ),
    _phrases("指示 命令 ルール プロンプト", "指示|命令|ルール|プロンプト", "無視|忘れ", _SHORT),
    _phrases("지시 명령 규칙 프롬프트", "지시|명령|규칙|프롬프트", "무시|잊어", _SHORT),
    _phrases("निर्देश", "निर्देश", "अनदेखा|नज़रअंदाज़|भूल", _SHORT),
)


def has_imperative(text: str) -> bool:
    """Whether a lower-case text has a phrase that tells a model to drop its instructions or to reveal secrets."""
    return any(any(clue in text for clue in each.clues) and each.pattern.search(text) for each in _IMPERATIVES)
