"""`python -m farm.cli`, where the script `farm` is not installed."""

from farm.cli import main

main()
