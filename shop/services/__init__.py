"""The shop's services: real FastAPI apps on real SQLite files."""
