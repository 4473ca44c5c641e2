"""The pages: a view of the store and filters in; a :class:`~metrion.web.blocks.Page` out. No HTML, no HTTP."""
