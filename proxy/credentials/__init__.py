"""Who we are: to the API server (tokens, client certificates) and to our clients (certificates).

All of it lives in files that others replace while we run, so all of it follows its files.
"""
