cimport cython

from proxy.http.exchange cimport Exchange
from proxy.observe.together cimport BatchObserver

cdef class RequestObserver(BatchObserver):
    cdef public object _metrics, _access_log, _refusals
    @cython.locals(exchange=Exchange, e=Exchange)
    cpdef ended(self, exchanges)
    cdef _note_special(self, Exchange exchange)
