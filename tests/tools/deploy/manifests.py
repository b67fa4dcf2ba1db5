"""Manifests for the tests of ``inject``: what a chart renders, and what people write by hand."""

from __future__ import annotations

from typing import Final

RENDERED: Final = """\
---
# Source: headlamp/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: headlamp   # two blanks, and a comment
---
# Source: headlamp/templates/deployment.yaml
# This comment stays.

apiVersion: apps/v1
kind: Deployment
metadata:
  name: headlamp
  labels: {app.kubernetes.io/name: headlamp, odd: "yes", number: '1'}
spec:
  replicas: 1
  template:
    spec:
      serviceAccountName: headlamp
      containers:
        - name: headlamp
          image: "ghcr.io/headlamp-k8s/headlamp:v0.45.0" # pinned
          args:
            - "-in-cluster"
        - name: plugins
          image: node:lts
---
apiVersion: v1
kind: Service
metadata: {name: headlamp}
spec:
    ports:
    -   port: 80
"""
