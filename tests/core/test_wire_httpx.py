"""The wire over httpx against real sockets that misbehave."""
