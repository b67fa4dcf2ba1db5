cimport cython

from proxy.denial cimport Bearer
from proxy.http.pool cimport Pool
from proxy.limits cimport Limits, Tally

@cython.final
cdef class Admission:
    cdef readonly object identity
    cdef readonly Bearer bearer
    cdef readonly bytes websocket_protocols

cdef class Witness:
    pass

cdef class Observer(Witness):
    cpdef begun(self, exchange)
    cpdef admitted(self, exchange)
    cpdef answered(self, exchange)
    cpdef ended(self, exchange)

@cython.final
cdef class Service:
    cdef readonly object gate, credential
    cdef readonly Pool pool
    cdef readonly bytes authority
    cdef readonly object headers
    cdef readonly Observer observer
    cdef readonly Tally streams, requests
    cdef readonly Limits limits
    cdef readonly object denial
    cdef readonly Pool bare_pool
    cdef readonly object sessions, page
