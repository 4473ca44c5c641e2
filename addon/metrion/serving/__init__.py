"""What is behind ``metrion serve``: the port, its supervisor, and the workers that serve on it.

``serve`` puts a proxy together and runs it, and ``listening`` takes the port. ``supervisor`` keeps the workers at work,
``worker_process`` is one of them as the supervisor sees it, and ``stop_signals`` the signals that end all of it.
``worker`` is what such a process does, and ``worker_context`` what it is given.
"""
