"""The sample cluster on a socket: who asks, what for, may he, and then the answer.

The order is kube-apiserver's: authentication, impersonation, authorization, and only then whether
there is such a thing, so that a 404 tells nobody anything that he may not know.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from aiohttp import web

from proxy.requestinfo import RequestInfo, resolve
from proxy.tools.demo.cluster import discovery, protobuf, tables
from proxy.tools.demo.cluster.contents import fill
from proxy.tools.demo.cluster.identity import user_of
from proxy.tools.demo.cluster.objects import Change, Object, Objects
from proxy.tools.demo.cluster.rbac import Authorizer, Question
from proxy.tools.demo.cluster.reviews import review
from proxy.tools.demo.cluster.selectors import Matches, selector
from proxy.tools.demo.cluster.statuses import (
    ApiError,
    bad_request,
    not_allowed,
    not_served,
    success,
    unsupported_media_type,
)
from proxy.tools.demo.cluster.streams import send_events, send_log, serve_exec
from proxy.userinfo import UserInfo

_HEALTH: Final = ("/healthz", "/livez", "/readyz")
_INITIAL_EVENTS_END: Final = {"k8s.io/initial-events-end": "true"}


class SampleCluster:
    """Holds the objects among ``manifests``; ``account_token`` is the proxy's."""

    def __init__(self, manifests: Iterable[Object], account_token: str) -> None:
        known = list(manifests)
        self._token = account_token
        self._authorizer = Authorizer(known)
        self._objects = Objects()
        self._changed = asyncio.Event()
        fill(self._objects, known, time.time())

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return web.json_response(error.status, status=error.code)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = user_of(request.headers, self._token, self._authorizer)
        info = resolve(request.method.encode(), request.raw_path.encode())
        self._authorizer.check(user, Question.of(info))
        if info.is_resource_request:
            return await self._resource(request, info, user)
        if info.path in _HEALTH:
            return web.Response(text="ok")
        document = discovery.document(info.path)
        if document is None or request.method != "GET":
            raise not_served()
        return web.json_response(document)

    async def _resource(
        self, request: web.Request, info: RequestInfo, user: UserInfo
    ) -> web.StreamResponse:
        name = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        known = discovery.find(info.api_group, name)
        if known is None:
            raise not_served()
        if info.verb not in known.verbs:
            raise not_allowed()
        match name, info.verb:
            case "pods/log", _:
                self._get(info)
                return await send_log(request)
            case "pods/exec", _:
                # Opening a WebSocket is a GET; since 1.35 it needs leave to create all the same.
                create = Question("create", "", "pods", "exec", info.name, info.namespace)
                self._authorizer.check(user, create)
                self._get(info)
                return await serve_exec(request, info.name)
            case _, "create" if known.group:
                body = await _body(request)
                answer = review(info.resource, body, user, self._authorizer)
                return web.json_response(answer, status=201)
            case _, "create":
                return await self._create(request, info)
            case _, "get":
                return self._shown(request, info, self._get(info))
            case _, "delete":
                return self._delete(info)
            case _, "watch":
                return await self._watch(request, info)
            case _:
                return self._list(request, info)

    # --- Reading -----------------------------------------------------------------------------

    def _get(self, info: RequestInfo) -> Object:
        namespace = "" if info.resource == "namespaces" else info.namespace
        return self._objects.get(info.resource, namespace, info.name)

    def _shown(
        self, request: web.Request, info: RequestInfo, item: Object, status: int = 200
    ) -> web.Response:
        if tables.wanted(request.headers.get("Accept", "")):
            item = tables.table(info.resource, [item], "", time.time())
        return web.json_response(item, status=status)

    def _list(self, request: web.Request, info: RequestInfo) -> web.Response:
        items = self._selected(info)
        version = str(self._objects.version)
        if tables.wanted(request.headers.get("Accept", "")):
            return web.json_response(tables.table(info.resource, items, version, time.time()))
        resource = discovery.find("", info.resource)
        assert resource is not None
        return web.json_response(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": version},
                "items": items,
            }
        )

    def _selected(self, info: RequestInfo) -> list[Object]:
        matches = selector(info.label_selector, info.field_selector)
        return [item for item in self._objects.list(info.resource, info.namespace) if matches(item)]

    # --- Watching ----------------------------------------------------------------------------

    async def _watch(self, request: web.Request, info: RequestInfo) -> web.StreamResponse:
        table = tables.wanted(request.headers.get("Accept", ""))
        seconds = request.query.get("timeoutSeconds", "")
        changes = self._changes(info, request.query)
        events = _as_tables(info.resource, changes) if table else changes
        return await send_events(request, events, float(seconds) if seconds.isdecimal() else None)

    async def _changes(self, info: RequestInfo, query: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens to the objects that are asked for; first what is there, if wanted."""
        matches = selector(info.label_selector, info.field_selector)
        version = self._objects.version
        bookmark = query.get("sendInitialEvents") == "true"
        if bookmark or query.get("resourceVersion", "0") in ("", "0"):
            for item in self._selected(info):
                yield {"type": "ADDED", "object": item}
        else:
            version = _version(query["resourceVersion"])
        if bookmark:
            yield self._bookmark(info, version)
        while True:
            for change in self._objects.since(version):
                version = change.version
                if _concerns(change, info, matches):
                    yield {"type": change.type, "object": change.object}
            await self._changed.wait()

    def _bookmark(self, info: RequestInfo, version: int) -> dict[str, Any]:
        resource = discovery.find("", info.resource)
        assert resource is not None
        metadata = {"resourceVersion": str(version), "annotations": _INITIAL_EVENTS_END}
        item = {"kind": resource.kind, "apiVersion": "v1", "metadata": metadata}
        return {"type": "BOOKMARK", "object": item}

    def _tell(self) -> None:
        """Wake every watch that waits; the next one to wait waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

    # --- Changing ----------------------------------------------------------------------------

    async def _create(self, request: web.Request, info: RequestInfo) -> web.Response:
        body = await _body(request)
        metadata = body.get("metadata") or {}
        if not metadata.get("name"):
            raise bad_request("the sample cluster needs metadata.name")
        self._objects.get("namespaces", "", info.namespace)
        kept = {"kind": "ConfigMap", "apiVersion": "v1", **body}
        kept["metadata"] = {**metadata, "namespace": info.namespace}
        dry_run = "dryRun" in request.query
        made = self._objects.create(info.resource, kept, time.time(), dry_run=dry_run)
        self._tell()
        return self._shown(request, info, made, 201)

    def _delete(self, info: RequestInfo) -> web.Response:
        gone = self._objects.delete(info.resource, info.namespace, info.name)
        self._tell()
        uid = gone["metadata"]["uid"]
        return web.json_response(success({"name": info.name, "kind": info.resource, "uid": uid}))


async def _body(request: web.Request) -> dict[str, Any]:
    data = await request.read()
    media_type = request.headers.get("Content-Type", "application/json").partition(";")[0]
    try:
        match media_type:
            case "application/json":
                body = json.loads(data)
            case protobuf.MEDIA_TYPE:
                body = protobuf.decode(data)
            case _:
                raise unsupported_media_type()
    except ValueError as error:
        raise bad_request(f"the body cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body is not an object")
    return body


def _version(text: str) -> int:
    if not text.isdecimal():
        raise bad_request(f"invalid resource version {text}")
    return int(text)


def _concerns(change: Change, info: RequestInfo, matches: Matches) -> bool:
    return (
        change.resource == info.resource
        and info.namespace in ("", change.object["metadata"].get("namespace", ""))
        and matches(change.object)
    )


async def _as_tables(
    resource: str, events: AsyncIterator[dict[str, Any]]
) -> AsyncIterator[dict[str, Any]]:
    first = True
    async for event in events:
        if event["type"] != "BOOKMARK":
            version = event["object"]["metadata"]["resourceVersion"]
            item = [event["object"]]
            event["object"] = tables.table(resource, item, version, time.time(), columns=first)
            first = False
        yield event
