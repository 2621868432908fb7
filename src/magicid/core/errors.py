"""Errors a user can act on: one line with the value, the rule and the remedy, and an exit code."""


class MagicIDError(Exception):
    """Base of every error that the command line prints as one line."""

    exit_code = 1


class UsageError(MagicIDError):
    """An unknown stage, setting or name, or a run directory made with other settings."""

    exit_code = 2


class DataError(MagicIDError):
    """Photos, videos, weights or scores that cannot be used."""

    exit_code = 3


class TooFewPairs(DataError):
    """A repository in which too few pairs satisfy the rule."""


class NotFinite(DataError):
    """A training or a model whose numbers left the finite."""


class ResourceError(MagicIDError):
    """Not enough memory or disk."""

    exit_code = 4


class Interrupted(MagicIDError):
    """Stopped on request at a point from which the same command goes on."""

    exit_code = 75


def out_of_memory(error: BaseException) -> bool:
    """Whether a computation found no memory; torch's own classes are known by name."""
    kind = type(error).__name__
    return isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate" in str(error)
