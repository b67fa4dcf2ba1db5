"""``doctor``: the five trusts that a login rests on, examined in order.

``verdict`` and ``causes`` are what can be said; ``examination`` is what an examiner is given;
``trusts`` says who examines which trust; ``walk`` runs them, and ``command`` is all that a terminal
sees of it.
"""
