"""`python -m magicid`."""

from magicid.cli import command

command()
