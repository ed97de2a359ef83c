"""tls_client.py HOST: asks, by one TLS connection of HTTP/1.1, until it is told
to close that. Prints what each answer says about the connection."""

import http.client
import ssl
import sys
import time

context = ssl.create_default_context(cafile="/cert.pem")
# It is connected to by its address.
context.check_hostname = False
connection = http.client.HTTPSConnection(sys.argv[1], context=context)
connection.connect()
# Else it would connect anew.
connection.auto_open = False
said = None
while said != "close":
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == b"seen /\n"
    said = answer.getheader("Connection")
    print("Connection:", said)
    # The rate of requests.
    time.sleep(0.02)
