"""Who did what, in Kubernetes' own audit format, by Kubernetes' own audit policy.

The API server's audit log knows the people who come through this proxy as impersonated users, and
on a managed cluster it is the cloud's. Here they are known by their tokens, and refusals that the
API server never hears of are known too. ``policy`` and ``event`` decide and are pure; the sinks
(``log_file``, ``webhook``) are told of events and can neither slow nor fail a request.
"""
