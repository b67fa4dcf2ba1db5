"""Asks the proxy for something without a token, and expects a 401 that says so."""

import json
import ssl
import sys
import urllib.error
import urllib.request

url, ca_file = sys.argv[1:]
try:
    urllib.request.urlopen(url, timeout=10, context=ssl.create_default_context(cafile=ca_file))
except urllib.error.HTTPError as answer:
    status = json.load(answer)
    if answer.code != 401 or status["kind"] != "Status":
        sys.exit(f"expected a 401 Status, got {answer.code}: {status}")
    print(f"{url} answers: {status['message']}")
else:
    sys.exit(f"{url} let somebody in without a token")
