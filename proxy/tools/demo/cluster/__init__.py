"""A sample of an API server, for machines that have no kube-apiserver and etcd.

It is no Kubernetes and says so in its version. It knows namespaces, pods and configmaps, and keeps
nothing when it ends. Where it knows something, it speaks as kube-apiserver does: who is asking, who
is impersonated, what RBAC says of it and in which words, lists as tables, watches, logs and exec.
"""
