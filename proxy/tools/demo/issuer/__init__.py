"""An identity provider with tsidp's shapes and habits, and a page to choose who to be.

tsidp knows its visitor by the device that asks; here a page asks instead. From there on everything
is as tsidp does it, inconvenient parts included, because these are what the proxy is tried on.
Left out: introspection, registration and token exchange, which nobody here has a use for.
"""
