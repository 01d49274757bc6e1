"""How bash cuts a command line into words, and how a name is written so that it is one word there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BREAKS: Final = re.compile("[=:@]+")
"""What bash takes for a word of its own in the middle of one (COMP_WORDBREAKS)."""
_NEEDS_NO_QUOTE: Final = re.compile(r"[A-Za-z0-9_./:=@%+,^-]|[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Typed:
    """The words of a command line up to the cursor, without their quotes; the last one is unfinished."""

    words: list[str]
    raw: str
    """The last word as it stands there."""
    quote: str
    """The quote that is still open in it: "", ' or "."""

    def before(self, own: str) -> str:
        """What stands of the last word, written as ``quoted`` does, in front of the part that bash will replace."""
        if self.quote:
            return ""
        kept = self.raw if not own or _BREAKS.fullmatch(own) else self.raw.removesuffix(own)
        return "" if kept == self.raw and own and not _BREAKS.fullmatch(own) else kept


def bash_words(line: str) -> Typed:
    """Cut a line as bash does, as far as quotes and backslashes go."""
    words, word, raw, quote, escaped, begun = [], "", "", "", False, False
    for letter in line:
        if not quote and not escaped and letter in " \t\n":
            if begun:
                words.append(word)
            word, raw, begun = "", "", False
            continue
        raw, begun = raw + letter, True
        if escaped:
            word, escaped = word + letter, False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        else:
            word += letter
    return Typed([*words, word], raw, quote)


def quoted(word: str, quote: str = "") -> str:
    """The word for bash; after an open quote only what that quote does not keep is escaped."""
    if quote == "'":
        return word.replace("'", "'\\''")
    if quote == '"':
        return re.sub(r'(["\\$`!])', r"\\\1", word)
    text = "".join(letter if _NEEDS_NO_QUOTE.fullmatch(letter) else f"\\{letter}" for letter in word)
    return text if word != "~" else "\\~"
