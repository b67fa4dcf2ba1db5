"""kube-apiserver's AuthenticationConfiguration: read strictly, validated whole, in its words.

``decoding`` makes ``types`` of a file, ``validation`` judges them, with every expression compiled,
and ``fields`` has the words of the messages.
"""
