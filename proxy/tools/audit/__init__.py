"""``headlamp-auth-proxy audit``: who did what, read from audit logs, and sessions replayed."""
