"""``explain`` and ``check-config``: what this proxy makes of a token, and of its configuration.

The code that decides is that of ``serve``; here it is only asked, once, and its steps are shown.
"""
