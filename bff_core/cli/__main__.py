"""``python -m bff_core.cli``."""

from . import main

main()
