cimport cython

from proxy.http.exchange cimport Exchange
from proxy.http.service cimport Witness
from proxy.observe.all_of cimport Several, guarded

cdef class BatchObserver(Witness):
    pass

cdef class Together(Several):
    cdef public list _heeding, _answered, _ended, _beginnings, _ends
    cdef public object _timer
    cdef _collect(self, list collected, Exchange exchange)
    cpdef flush(self)
