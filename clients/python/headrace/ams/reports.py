"""The calls on the service itself: how it is, what it is, what was done with it."""

from collections.abc import Sequence
from datetime import date
from typing import Unpack

from headrace.ams.message import Document
from headrace.ams.options import RequestOptions
from headrace.ams.requests import AmsHttpRequests


class Reports(AmsHttpRequests):
    """Days are UTC; both ends of a period belong to it."""

    def status(self, **reqkwargs: Unpack[RequestOptions]) -> Document:
        return self._call("api_status", options=reqkwargs)

    def version(self, **reqkwargs: Unpack[RequestOptions]) -> Document:
        return self._call("api_version", options=reqkwargs)

    def metrics(self, **reqkwargs: Unpack[RequestOptions]) -> Document:
        """Return the load of each node."""
        return self._call("api_metrics", options=reqkwargs)

    def va_metrics(
        self,
        projects: Sequence[str] | None = None,
        start_date: date | None = None,
        end_date: date | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document:
        """Return messages, topics, subscriptions and users of all projects, or of these, in a period."""
        return self._report("api_va_metrics", projects, start_date, end_date, reqkwargs)

    def usage_report(
        self,
        projects: Sequence[str] | None = None,
        start_date: date | None = None,
        end_date: date | None = None,
        **reqkwargs: Unpack[RequestOptions],
    ) -> Document:
        """Return the same for the projects that the caller administers, with the nodes' load."""
        return self._report("api_usage_report", projects, start_date, end_date, reqkwargs)

    def _report(
        self,
        route: str,
        projects: Sequence[str] | None,
        start: date | None,
        end: date | None,
        options: RequestOptions,
    ) -> Document:
        params: dict[str, object] = {
            "start_date": start.strftime("%Y-%m-%d") if start else None,
            "end_date": end.strftime("%Y-%m-%d") if end else None,
            "projects": ",".join(projects) if projects else None,
        }
        options["params"] = {**params, **(options.get("params") or {})}
        return self._call(route, options=options)
