"""An hour of mixed traffic, and whether the proxy is the same afterwards."""
