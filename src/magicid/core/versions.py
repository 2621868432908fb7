"""What is installed: the package itself and those whose release may change a number."""

from importlib import metadata

from magicid._version import __version__

PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy", "av")


def versions() -> dict[str, str]:
    """Version by package, magicid first; packages that are not installed are left out."""
    installed = {found.name: found.version for found in metadata.distributions() if found.name in PACKAGES}
    return {"magicid": __version__} | {name: installed[name] for name in PACKAGES if name in installed}
