"""Asks the proxy for something without a token, and expects a 401 that says so."""

import http.client
import json
import ssl
import sys
import urllib.error
import urllib.request

url, ca_file = sys.argv[1:]
try:
    tls = ssl.create_default_context(cafile=ca_file)
    urllib.request.urlopen(url, timeout=10, context=tls)
except urllib.error.HTTPError as answer:
    body = answer.read().decode(errors="replace")
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = None
    if answer.code != 401 or message is None:
        sys.exit(f"{url} is not the proxy: expected a 401 Status, got {answer.code}: {body[:500]}")
    print(f"{url} answers: {message}")
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{url} cannot be reached, or not be verified by {ca_file}: {error}")
else:
    sys.exit(f"{url} let somebody in without a token")
