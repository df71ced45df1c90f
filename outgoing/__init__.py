"""The one door out: checks a URL, resolves it once, pins the address for the connection.

    url.py        text -> Url, or UrlRefused where two parsers could read two things
    addresses.py  which addresses belong to the open internet
    lookups.py    names -> addresses, on a bounded number of threads
    door.py       who may go where: Door.to_strangers, Door.of_operator
    http.py       transports for httpx and httpx2
    aws.py        the connections of a botocore client
    collector.py  where spans go, if anywhere
    tracing.py    the spans of the work, told to that collector by OpenTelemetry's own exporter

Whatever the URL says, a client connects only to an address that the door gave it for the name the client itself read.
"""
