"""What is installed: the package itself and those whose release may change a number."""

from contextlib import suppress
from importlib import metadata

from magicid._version import __version__

PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy", "av")


def versions() -> dict[str, str]:
    """Version by package, magicid first; packages that are not installed are left out."""
    found = {"magicid": __version__}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
