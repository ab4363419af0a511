"""The partner gateway."""
