"""Kubernetes' CEL environment for authentication, on Google's own CEL implementation.

The library (``cel-expr-python``, the C++ runtime) parses, checks types and evaluates. What
Kubernetes adds or does otherwise is here: ``environment`` puts the two together, ``functions``
declares Kubernetes' extension functions, ``checks`` refuses what Kubernetes' checker refuses
besides, ``rewrite`` gives the claims the meaning that kube-apiserver gives them, and ``ast`` is
the form in which the library hands an expression over. Nothing is imported from here unless a
configuration has an expression.
"""
