"""What can be seen from outside: metrics, probes and the access log."""
