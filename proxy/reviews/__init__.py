"""Questions to the API server: who somebody is, and what somebody may do.

Knows the API server (through ``credentials``), and nothing of tokens, requests or settings.
"""
