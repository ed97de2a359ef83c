"""grpc_client.py HOST UPSTREAM slow URL COUNT | endless

Calls by one connection, over TLS. Prints each message, and how each call ends.
"""

import sys

import grpc

host, upstream, kind, *more = sys.argv[1:]
with open("/cert.pem", "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
# The certificate's name.
options = [("grpc.ssl_target_name_override", "test")]
channel = grpc.secure_channel(f"{host}:443", credentials, options)
metadata = [("upstream", upstream)]

if kind == "slow":
    url, count = more
    slow = channel.unary_unary("/test.Test/Slow")
    calls = [slow.future(url.encode(), metadata=metadata) for _ in range(int(count))]
    for call in calls:
        error = call.exception()
        print(error.code() if error else "answered: " + call.result().decode().strip())
else:
    try:
        for message in channel.unary_stream("/test.Test/Endless")(b"", metadata=metadata):
            print("message", message.decode())
        print("ended")
    except grpc.RpcError as error:
        print("cut:", error.code())
