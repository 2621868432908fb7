"""Words in a sentence: the trigger words stand there as whole words, in any case, or not at all."""

import re

_LETTER = "[0-9A-Za-z_\u00c0-\u052f]"  # of scripts that put spaces between words: Latin, Greek, Cyrillic


def whole(words: str) -> re.Pattern[str]:
    """Finds them; "ann" is not in "a cannery"."""
    return re.compile(f"(?<!{_LETTER}){re.escape(words.strip())}(?!{_LETTER})", re.IGNORECASE)
