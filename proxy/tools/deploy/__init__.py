"""Manifests that put the proxy beside Headlamp: the sidecar, its rights, and who may be whom.

Every way to deploy says the same thing in another language (a values file, a chart, a kustomize
component, an admission policy, the command ``inject``), so what they say is defined here once:
``sidecar`` for the pod and ``rbac`` for the rights. The files under ``deploy/`` are generated from
them, or checked against them.
"""
