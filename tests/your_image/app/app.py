"""Answers at once, or after the milliseconds that ?ms= asks for."""

import time
import urllib.parse


def application(environ, start_response):
    query = urllib.parse.parse_qs(environ["QUERY_STRING"])
    time.sleep(float(query.get("ms", ["0"])[0]) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
