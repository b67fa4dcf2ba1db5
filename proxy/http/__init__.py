"""The data plane: two ``asyncio.Protocol``s and what lies between them.

Nothing here knows what a token or an issuer is; a ``Gate`` says who a request is from.
"""
