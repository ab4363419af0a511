"""The mobile gateway."""
