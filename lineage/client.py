"""Asking a lineage API, as the command line does when the store is not a file of this machine."""

import httpx

from lineage.answers import Json
from thalweg.errors import ConfigurationError, NotFound, Unavailable

_TIMEOUT_S = 30


def ask(api: str, path: str, **parameters: str | int | None) -> Json:
    """Ask `path` of the API at URL `api`, and return its answer. Parameters that are None are left out.

    Raises Unavailable when nobody answers or the service fails, NotFound and ConfigurationError as the API says.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        answer = httpx.get(f"{api.rstrip('/')}/api/v1/{path}", params=given, timeout=_TIMEOUT_S)
        content = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Unavailable(
            f"no lineage API answers at {api}: {error}", "start it with thalweg lineage serve, or set lineage.api"
        ) from error
    if answer.is_success and isinstance(content, dict):
        return content
    told = content if isinstance(content, dict) else {}
    kind = {404: NotFound, 400: ConfigurationError}.get(answer.status_code, Unavailable)
    raise kind(
        str(told.get("error", f"{api} answers {answer.status_code}")),
        str(told.get("what_to_do", "see the log of thalweg lineage serve")),
    )
