cimport cython

from proxy.http.exchange cimport Client, Exchange
from proxy.http.head cimport RequestHead
from proxy.http.known cimport HeadReader, Known
from proxy.http.service cimport Service
from proxy.http.timer cimport Timer
from proxy.limits cimport Limits, Place

@cython.final
cdef class Listener:
    cdef public Service service
    cdef public HeadReader heads
    cdef public object places, _empty
    cdef public bint draining
    cdef public Py_ssize_t accepted
    cdef public set _connections

cdef class ClientConnection(Client):
    cdef public bint _advancing, _closing, _paused, _reading_head, _skipped, _write_full
    cdef public bytes _block, _buffer
    cdef public Known _known
    cdef public Listener _listener
    cdef public Py_ssize_t _searched
    cdef public object _tunnel
    cdef public Exchange exchange
    cdef public Limits limits
    cdef public Place place
    cpdef close_if_idle(self)
    cdef _advance(self)
    @cython.locals(head=RequestHead, exchange=Exchange)
    cdef bint _begin(self)
    cdef RequestHead _read_again(self)
    @cython.locals(searched=Py_ssize_t, size=Py_ssize_t, end=Py_ssize_t)
    cdef RequestHead _read(self)
    cdef bytes _body_received(self, Exchange exchange, bytes data)
    cpdef _timed_out(self)
    cdef _limited(self, limit)
    cdef _refuse_unreadable(self, error)
    cdef _close_after_answer(self, bint linger)
    cdef _close(self)
