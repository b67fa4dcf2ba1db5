"""Authentication: from a bearer token to a ``UserInfo``, by kube-apiserver's rules.

Everything here but ``issuer`` is pure: no clock, no network, no log.
"""
