"""Words in a sentence: the trigger words stand there as whole words, in any case, or not at all."""

import re


def whole(words: str) -> re.Pattern[str]:
    """Finds them; "ann" is not in "a cannery"."""
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
