"""Budgets that hold: what a request may cost is held before it goes out, and what it cost is counted when it is over.

What is spent is what ``events`` says. Each budget has a small file (:mod:`~metrion.budgets.ledger`) that all processes
of a home change under its lock, and that a count over ``events`` (:mod:`~metrion.budgets.recount`) puts right: when a
process has died, when prices were changed afterwards, and from time to time.
"""
