"""A model behind any OpenAI-compatible endpoint: one question, one reply.

Named by MAGICID_LLM_URL, _MODEL and _KEY (text) or MAGICID_VLM_URL, _MODEL and _KEY (text and pictures).
"""

import json
import os
import time
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.error import HTTPError

from magicid.core.errors import DataError
from magicid.core.pulse import waiting

PAUSES_S = (2.0, 8.0)  # before a server that gave no answer is asked again
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and what to do instead when it does not answer."""

    url: str  # as far as /v1
    model: str
    remedy: str  # the end of an error's line
    key: str = field(default="", repr=False)

    @classmethod
    def configured(cls, kind: str, remedy: str, model: str = "") -> "Endpoint | None":
        """That of MAGICID_{kind}_URL, or None; `model` goes before MAGICID_{kind}_MODEL."""
        url, key = (os.environ.get(f"MAGICID_{kind}_{part}", "") for part in ("URL", "KEY"))
        return cls(url.rstrip("/"), model or named_model(kind), remedy, key) if url else None

    def ask(self, content: str | list[dict[str, Any]], **settings: Any) -> str:
        """The reply to one message of a user; `DataError` where there is none.

        A server that is busy (429), fails (5xx), is late or cannot be reached is asked again after `PAUSES_S`.
        """
        address = f"{self.url}/chat/completions"
        body = {"model": self.model, "messages": [{"role": "user", "content": content}]} | settings
        try:
            answer = json.loads(self._posted(address, json.dumps(body).encode()))
            return str(answer["choices"][0]["message"]["content"].strip())
        except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{address}: no usable answer ({said}); {self.remedy}") from error

    def _posted(self, address: str, body: bytes) -> bytes:
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        for pause in PAUSES_S:
            try:
                return waiting(partial(_fetched, request), "endpoint")
            except (OSError, IncompleteRead) as error:
                if isinstance(error, HTTPError) and error.code != 429 and error.code < 500:
                    raise
            waiting(partial(time.sleep, pause), "endpoint")
        return waiting(partial(_fetched, request), "endpoint")


def named_model(kind: str) -> str:
    """The model that MAGICID_{kind}_MODEL names; "default", which servers of one model take, where there is none."""
    return os.environ.get(f"MAGICID_{kind}_MODEL", "") or "default"


def _fetched(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return bytes(response.read())
