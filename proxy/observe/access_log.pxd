cimport cython

from proxy.http.exchange cimport Exchange
from proxy.http.head cimport RequestHead
from proxy.http.service cimport Admission
from proxy.impersonation cimport Impersonation
from proxy.observe.logs cimport Timestamps

@cython.final
cdef class AccessLog:
    cdef public object _writer, _forwarded_from, _client
    cdef public Timestamps _timestamps
    @cython.locals(head=RequestHead, admission=Admission, target=bytes, forwarded_for=tuple, answered_at=double)
    cdef str _line(self, Exchange exchange)
