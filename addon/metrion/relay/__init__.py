"""The way of one request, sans-IO: what happens goes in, what is to be done comes out.

``relay`` holds all policy between a client and a provider, ``effects`` what it asks of whoever owns the connections,
``request`` and ``attempt`` what is known of a request and of one sending of it, ``settlement`` who is billed for what
is told later, ``rewrites`` which bodies are changed because somebody asked for it by name.
"""
