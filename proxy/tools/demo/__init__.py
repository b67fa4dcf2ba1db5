"""Ten minutes for a newcomer: an issuer, an API server, the proxy and a tour, all on loopback.

Only the proxy is the real program, run as its user would run it. What stands around it is made to
be looked at, and is no part of ``serve``. Everything lives in one temporary folder and ends with
the command, however that ends.
"""
