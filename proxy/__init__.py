"""headlamp-auth-proxy: an ID token becomes an impersonated request to kube-apiserver.

The way of a request, and where each step lives:

    listener -> request head -> credential -> claims -> UserInfo -> identity headers -> upstream
    http/       http/head       authn/        authn/    userinfo    impersonation       http/

Modules that decide are pure; modules that do I/O are thin. ``server`` is the only place that
builds the parts and joins them.
"""
