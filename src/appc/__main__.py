"""`python -m appc`: the command line, started without the starter."""

from appc.cli.main import start

start()
