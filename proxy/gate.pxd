cimport cython

from proxy.denial cimport Bearer
from proxy.http.head cimport RequestHead
from proxy.http.known cimport Known
from proxy.http.service cimport Admission

@cython.final
cdef class Gate:
    cdef public object _authenticator, _cache, _policy, _observer, _max_token_bytes
    cdef public object _hits, _misses
    cdef public dict _found
    cdef public bint _may_impersonate
    @cython.locals(known=Known, admission=Admission)
    cpdef admit(self, RequestHead head, double now, trace=*)
