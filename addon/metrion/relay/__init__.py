"""The way of one request, sans-IO: what happens goes in, what is to be done comes out.

``relay`` holds all policy between a client and a provider, over the table in ``states``. ``gate`` is what it asks of
whoever decides, ``effects`` what it asks of whoever owns the connections, ``own_answers`` what it answers in a
provider's place. ``request`` and ``attempt`` hold what is known of a request and of one sending of it, with
``estimation`` for the tokens that nobody reported, ``session`` for WebSocket sessions and ``recorder`` for the events.
``settlement`` decides which response bills an earlier request, ``rewrites`` which bodies are changed because somebody
asked for it by name, ``told`` what a response tells its client beside.
"""
