"""The HTTP face: JSON resources with FastAPI, streams as plain ASGI."""
