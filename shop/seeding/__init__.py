"""How the shop's rows are made."""
