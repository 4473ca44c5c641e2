"""The benchmark: what the proxy costs, as differences and ratios to other targets of the same run.

``upstream`` and ``link`` are programs of their own, and so is everything that is measured; ``driver`` runs in the
benchmark's process, so that none of them waits for another's work in the same interpreter. ``targets`` and ``others``
start what is measured, one module a job measures it, ``promises`` says what ``--check`` asserts.
"""
