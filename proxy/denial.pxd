cimport cython

@cython.final
cdef class Bearer:
    cdef readonly str username
    cdef readonly tuple groups
    cdef readonly str issuer, subject, token_id, node
    cdef readonly tuple addresses
