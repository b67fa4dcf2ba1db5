"""Authentication: from a bearer token to a ``UserInfo``, by kube-apiserver's rules.

What decides is pure: no clock, no network, no log. Only ``fetch`` and ``issuer`` do I/O, and
``jwks_file``, which looks at a file.
"""
