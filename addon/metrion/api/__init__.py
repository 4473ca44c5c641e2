"""The admin API: control data and figures as JSON under ``/admin/v1``, for whoever has an admin token.

:data:`~metrion.api.operations.OPERATIONS` is the table of what can be asked; what routes, what checks and the OpenAPI
document are made from it. The functions behind it are those of the command line and the dashboard.
"""

from metrion.api.app import PATH, create_app, mount
from metrion.api.document import document

__all__ = ["PATH", "create_app", "document", "mount"]
