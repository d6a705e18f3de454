"""The routes below `/api`: what can be requested over HTTP."""
