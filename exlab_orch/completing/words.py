"""How bash cuts a command line into words, and how a name is written so that it is one word there."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_BREAKS: Final = re.compile("[=:@]+")
"""What bash takes for a word of its own in the middle of one (COMP_WORDBREAKS)."""
_NEEDS_QUOTE: Final = re.compile(r"[^A-Za-z0-9_./:=@%+,^\x80-\U0010ffff-]")


class Typed(NamedTuple):
    """The words of a command line up to the cursor, without their quotes; the last one is unfinished."""

    words: list[str]
    raw: str
    """The last word as it stands there."""
    quote: str
    """The quote that is still open in it: "", ' or "."""
    front: str
    """What stands in front of that quote; bash replaces only what is behind it."""

    def before(self, own: str) -> str:
        """What stands of the last word, written as ``quoted`` does, in front of the part that bash will replace."""
        if self.quote:
            return ""
        kept = self.raw if not own or _BREAKS.fullmatch(own) else self.raw.removesuffix(own)
        return "" if kept == self.raw and own and not _BREAKS.fullmatch(own) else kept


def bash_words(line: str) -> Typed:
    """Cut a line as bash does, as far as quotes and backslashes go."""
    words, word, raw, quote, front, escaped, begun = [], "", "", "", "", False, False
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
            quote, front = ("", "") if quote else (letter, word)
        else:
            word += letter
    return Typed([*words, word], raw, quote, front)


def quoted(word: str, quote: str = "") -> str:
    """The word for bash; after an open quote only what that quote does not keep is escaped."""
    if quote == "'":
        return word.replace("'", "'\\''")
    if quote == '"':
        return re.sub(r'(["\\$`!])', r"\\\1", word)
    if _NEEDS_QUOTE.search(word) is None:  # as most names are: this is asked of thousands of them
        return word
    return _NEEDS_QUOTE.sub(r"\\\g<0>", word)
