"""The tables of k8s.io/apiserver's requestinfo_test.go, whole, and what they leave out."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.requestinfo import KINDS, RequestInfo, kind, resolve

# TestGetAPIRequestInfo: method, target, verb, group, version, namespace, resource, subresource,
# name, parts. (Its column for the prefix is never compared there; PREFIXES below does.)
RESOURCES = [
    # resource paths
    ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", "", "namespaces"),
    (
        *("GET", "/api/v1/namespaces/other", "get", "", "v1"),
        *("other", "namespaces", "", "other", "namespaces other"),
    ),
    ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", "", "pods"),
    (
        *("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1"),
        *("other", "pods", "", "foo", "pods foo"),
    ),
    (
        *("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1"),
        *("other", "pods", "", "foo", "pods foo"),
    ),
    ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", "", "pods"),
    ("HEAD", "/api/v1/pods", "list", "", "v1", "", "pods", "", "", "pods"),
    # special verbs
    (
        *("GET", "/api/v1/proxy/namespaces/other/pods/foo", "proxy", "", "v1"),
        *("other", "pods", "", "foo", "pods foo"),
    ),
    (
        "GET",
        "/api/v1/proxy/namespaces/other/pods/foo/subpath/not/a/subresource",
        *("proxy", "", "v1", "other", "pods", "", "foo", "pods foo subpath not a subresource"),
    ),
    ("GET", "/api/v1/watch/pods", "watch", "", "v1", "", "pods", "", "", "pods"),
    ("GET", "/api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", "", "pods"),
    ("GET", "/api/v1/pods?watch=false", "list", "", "v1", "", "pods", "", "", "pods"),
    (
        *("GET", "/api/v1/watch/namespaces/other/pods", "watch", "", "v1"),
        *("other", "pods", "", "", "pods"),
    ),
    (
        *("GET", "/api/v1/namespaces/other/pods?watch=1", "watch", "", "v1"),
        *("other", "pods", "", "", "pods"),
    ),
    (
        *("GET", "/api/v1/namespaces/other/pods?watch=0", "list", "", "v1"),
        *("other", "pods", "", "", "pods"),
    ),
    # subresource identification
    (
        *("GET", "/api/v1/namespaces/other/pods/foo/status", "get", "", "v1"),
        *("other", "pods", "status", "foo", "pods foo status"),
    ),
    (
        *("GET", "/api/v1/namespaces/other/pods/foo/proxy/subpath", "get", "", "v1"),
        *("other", "pods", "proxy", "foo", "pods foo proxy subpath"),
    ),
    (
        *("PUT", "/api/v1/namespaces/other/finalize", "update", "", "v1"),
        *("other", "namespaces", "finalize", "other", "namespaces other finalize"),
    ),
    (
        *("PUT", "/api/v1/namespaces/other/status", "update", "", "v1"),
        *("other", "namespaces", "status", "other", "namespaces other status"),
    ),
    # verb identification
    (
        *("PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "v1"),
        *("other", "pods", "", "foo", "pods foo"),
    ),
    (
        *("DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "v1"),
        *("other", "pods", "", "foo", "pods foo"),
    ),
    ("POST", "/api/v1/namespaces/other/pods", "create", "", "v1", "other", "pods", "", "", "pods"),
    # deletecollection verb identification
    ("DELETE", "/api/v1/nodes", "deletecollection", "", "v1", "", "nodes", "", "", "nodes"),
    (
        *("DELETE", "/api/v1/namespaces", "deletecollection", "", "v1"),
        *("", "namespaces", "", "", "namespaces"),
    ),
    (
        *("DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "", "v1"),
        *("other", "pods", "", "", "pods"),
    ),
    (
        *("DELETE", "/apis/extensions/v1/namespaces/other/pods", "deletecollection"),
        *("extensions", "v1", "other", "pods", "", "", "pods"),
    ),
    # api group identification
    (
        *("POST", "/apis/extensions/v1/namespaces/other/pods", "create"),
        *("extensions", "v1", "other", "pods", "", "", "pods"),
    ),
    # api version identification
    (
        *("POST", "/apis/extensions/v1beta3/namespaces/other/pods", "create"),
        *("extensions", "v1beta3", "other", "pods", "", "", "pods"),
    ),
]


@pytest.mark.parametrize("row", RESOURCES, ids=lambda row: f"{row[0]} {row[1]}")
def test_a_resource_request_is_resolved_as_kube_apiserver_does(row: tuple[str, ...]) -> None:
    method, target, *expected, parts = row
    info = resolve(method.encode(), target.encode())
    assert info.is_resource_request
    assert [
        info.verb,
        info.api_group,
        info.api_version,
        info.namespace,
        info.resource,
        info.subresource,
        info.name,
    ] == expected
    assert info.parts == tuple(parts.split(" "))


# The errorCases of TestGetAPIRequestInfo, then TestGetNonAPIRequestInfo.
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", False),
        ("/api/version/", False),
        ("/apis/group/version/", False),
        ("/badprefix/version/resource", False),
        ("/apis/version/resource", False),
        ("/api/version/resource", True),
        ("/apis/group/version/resource/name/subresource", True),
        ("/api/version/resource/name/subresource", True),
        ("/apis/batch/v1/job", True),
        ("/apis/batch/v1/job/foo", True),
        ("/apis/batch/v1/job/foo/scale", True),
        ("/not-api/version/resource", False),
        ("/apis/extensions/v1beta1", False),
        ("/apis/extensions/v1beta1/", False),
        ("/api/version", False),
        ("/api", False),
        ("", False),
    ],
)
def test_only_a_path_below_a_version_is_a_resource_request(target: str, expected: bool) -> None:
    assert resolve(b"GET", target.encode()).is_resource_request is expected


R = "/apis/group/version/resource"


# TestSelectorParsing: method, target, name, verb, field selector, label selector.
@pytest.mark.parametrize(
    ("method", "target", "name", "verb", "field_selector", "label_selector"),
    [
        ("GET", R, "", "list", "", ""),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=name1", "name1", "list"),
            *("metadata.name=name1", ""),
        ),
        (
            *("GET", f"{R}?watch=true&fieldSelector=metadata.name=name1", "name1", "watch"),
            *("metadata.name=name1", ""),
        ),
        (
            "GET",
            f"{R}?fieldSelector=foo=bar&labelSelector=baz=qux",
            "",
            "list",
            "foo=bar",
            "baz=qux",
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=name1,foo", "", "list"),
            *("metadata.name=name1,foo", ""),
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=name1,foo&watch=true", "", "watch"),
            *("metadata.name=name1,foo", ""),
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=name1,foo&watch=false", "", "list"),
            *("metadata.name=name1,foo", ""),
        ),
        (
            *("DELETE", f"{R}?fieldSelector=foo=bar&labelSelector=baz=qux", "", "deletecollection"),
            *("foo=bar", "baz=qux"),
        ),
        (
            "GET",
            f"{R}?fieldSelector=metadata.name=foo&fieldSelector=metadata.name=b&labelSelector=a=b&labelSelector=c",
            *("foo", "list", "metadata.name=foo", "a=b"),
        ),
        ("GET", f"{R}/name?fieldSelector=foo=bar&labelSelector=foo=bar", "name", "get", "", ""),
        (
            "GET",
            "/apis/group/version/watch/resource?fieldSelector=metadata.name=foo&labelSelector=a=b",
            *("", "watch", "", ""),
        ),
        (
            "GET",
            "/apis/group/version/watch/resource/name?fieldSelector=metadata.name=foo",
            *("name", "watch", "", ""),
        ),
        # Beyond the table: the escapes of fields.ParseSelector and its order, by sorted term.
        ("GET", rf"{R}?fieldSelector=metadata.name=a\,b", "a,b", "list", r"metadata.name=a\,b", ""),
        ("GET", rf"{R}?fieldSelector=metadata.name=a\b", "", "list", r"metadata.name=a\b", ""),
        ("GET", f"{R}?fieldSelector=metadata.name!%3Da", "", "list", "metadata.name!=a", ""),
        ("GET", f"{R}?fieldSelector=metadata.name==a,x=", "a", "list", "metadata.name==a,x=", ""),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=b,metadata.name=a", "a", "list"),
            *("metadata.name=b,metadata.name=a", ""),
        ),
        ("GET", f"{R}?fieldSelector=metadata.name=..", "", "list", "metadata.name=..", ""),
        ("GET", f"{R}?fieldSelector=metadata.name=a%2Fb", "", "list", "metadata.name=a/b", ""),
        # An option that does not decode drops the name, never the watch.
        (
            *("GET", f"{R}?fieldSelector=metadata.name=a&limit=x&watch=1", "", "watch"),
            *("metadata.name=a", ""),
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=a&timeoutSeconds=", "", "list"),
            *("metadata.name=a", ""),
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=a&limit=9223372036854775808", "", "list"),
            *("metadata.name=a", ""),
        ),
        (
            *("GET", f"{R}?fieldSelector=metadata.name=a&limit=-{'0' * 5000}7", "a", "list"),
            *("metadata.name=a", ""),
        ),
        # net/url: fields with a semicolon or a bad escape do not exist; a blank may be a plus.
        (
            "GET",
            f"{R}?labelSelector=a;b&labelSelector=%zz&labelSelector=c+d",
            "",
            "list",
            "",
            "c d",
        ),
        ("GET", f"{R}?l%61belSelector=a", "", "list", "", "a"),
        ("GET", f"{R}?watch=1{'&x=y' * 10_000}", "", "list", "", ""),
    ],
)
def test_selectors_count_where_kube_apiserver_honours_them(
    method: str, target: str, name: str, verb: str, field_selector: str, label_selector: str
) -> None:
    info = resolve(method.encode(), target.encode())
    assert (info.name, info.verb) == (name, verb)
    assert (info.field_selector, info.label_selector) == (field_selector, label_selector)


@pytest.mark.parametrize("value", ["", "1", "true", "no", "TRUE", "f", "00"])
def test_a_watch_is_any_value_but_false_and_0(value: str) -> None:
    assert resolve(b"GET", f"/api/v1/pods?watch={value}".encode()).verb == "watch"
    assert resolve(b"GET", f"/api/v1/pods/foo?watch={value}".encode()).verb == "get"


@pytest.mark.parametrize("value", ["0", "false", "False", "FALSE"])
def test_a_list_may_say_that_it_is_no_watch(value: str) -> None:
    assert resolve(b"GET", f"/api/v1/pods?watch={value}&watch=1".encode()).verb == "list"


@pytest.mark.parametrize(
    ("target", "path", "parts"),
    [
        ("/api/v1/namespaces/a%62/pods", "/api/v1/namespaces/ab/pods", ("pods",)),
        ("/api/v1/pods/a%2Fb", "/api/v1/pods/a/b", ("pods", "a", "b")),
        ("/api/v1/pods/a+b", "/api/v1/pods/a+b", ("pods", "a+b")),
        ("/api/v1/pods/%C3%A9%FF", "/api/v1/pods/\N{LATIN SMALL LETTER E WITH ACUTE}\ufffd", None),
        ("//api/v1/pods//", "//api/v1/pods//", ("pods",)),
        ("/api/v1//pods", "/api/v1//pods", ("", "pods")),
        ("/api/v1/../pods", "/api/v1/../pods", ("..", "pods")),
        ("/api/v1/pods#x", "/api/v1/pods#x", ("pods#x",)),
    ],
)
def test_the_path_is_decoded_once_and_never_cleaned(
    target: str, path: str, parts: tuple[str, ...] | None
) -> None:
    info = resolve(b"GET", target.encode())
    assert info.path == path
    assert parts is None or info.parts == parts


@pytest.mark.parametrize("target", ["/api/v1/pods/%", "/api/v1/pods/%z1?watch=1", "/debug/pprof/%"])
def test_a_malformed_escape_leaves_a_non_resource_request_with_the_raw_path(target: str) -> None:
    path = target.removesuffix("?watch=1")
    expected = RequestInfo(is_resource_request=False, path=path, verb="get")
    assert resolve(b"GET", target.encode()) == expected


def test_a_special_verb_without_a_resource_is_known_as_far_as_it_goes() -> None:
    assert resolve(b"GET", b"/apis/batch/v1/watch") == RequestInfo(
        is_resource_request=True,
        path="/apis/batch/v1/watch",
        verb="get",
        api_prefix="apis",
        api_group="batch",
        api_version="v1",
    )


def test_a_non_resource_request_has_its_method_for_a_verb() -> None:
    info = resolve(b"POST", b"/version?watch=1")
    assert info == RequestInfo(is_resource_request=False, path="/version", verb="post")


def test_a_method_without_a_kubernetes_verb_has_none_on_a_resource() -> None:
    assert resolve(b"OPTIONS", b"/api/v1/pods").verb == ""


PREFIXES = {"/version": "", "/api/v1": "", "/apis/apps/v1": "apis", "/api/v1/pods": "api"}


@pytest.mark.parametrize(("target", "prefix"), PREFIXES.items())
def test_the_prefix_is_known_from_three_segments_on(target: str, prefix: str) -> None:
    assert resolve(b"GET", target.encode()).api_prefix == prefix


POD = "/api/v1/namespaces/n/pods/p"


@pytest.mark.parametrize(
    ("method", "target", "upgrade", "expected"),
    [
        ("GET", POD, False, "unary"),
        ("GET", "/api/v1/pods", False, "unary"),
        ("POST", f"{POD}/eviction", False, "unary"),
        ("GET", "/log/x", False, "unary"),
        ("GET", "/api/v1/pods?watch=1", False, "watch"),
        ("GET", "/api/v1/watch/pods", False, "watch"),
        ("WATCH", "/version", False, "watch"),
        ("GET", f"{POD}/log?follow=true", False, "stream"),
        ("GET", f"{POD}/log", False, "stream"),
        ("POST", f"{POD}/exec?command=sh", False, "stream"),
        ("POST", f"{POD}/attach", False, "stream"),
        ("POST", f"{POD}/portforward", False, "stream"),
        ("GET", "/api/v1/namespaces/n/services/s/proxy/x", False, "stream"),
        ("GET", "/api/v1/nodes/n/proxy", False, "stream"),
        ("GET", "/api/v1/proxy/namespaces/n/pods/p", False, "stream"),
        ("GET", "/debug/pprof/profile", False, "stream"),
        ("GET", "/debug/pprof", False, "unary"),
        ("POST", f"{POD}/exec?command=sh", True, "upgrade"),
        ("GET", "/api/v1/pods?watch=1", True, "upgrade"),
    ],
)
def test_kinds_follow_the_long_running_check_of_kube_apiserver(
    method: str, target: str, upgrade: bool, expected: str
) -> None:
    info = resolve(method.encode(), target.encode())
    assert kind(info, upgrade) == expected
    assert expected in KINDS
    assert info.long_running is (kind(info, upgrade=False) != "unary")


def test_request_info_cannot_be_changed() -> None:
    info = resolve(b"GET", POD.encode())
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.verb = "list"  # type: ignore[misc]
