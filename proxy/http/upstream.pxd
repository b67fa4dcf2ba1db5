cimport cython

from proxy.http.body cimport Body, answer_has_body, response_body
from proxy.http.head cimport ResponseHead

cdef Py_ssize_t MAX_RESPONSE_HEAD_BYTES

cdef class Owner:
    cdef public bytes method
    cpdef response_interim(self, ResponseHead head)
    cpdef response_switch(self, ResponseHead head, bytes rest)
    cpdef response_head(self, ResponseHead head, list parts, bint done)
    cpdef response_content(self, list parts, bint done)
    cpdef response_chunk(self, bytes chunk)
    cpdef upstream_failed(self, error)
    cpdef upstream_lost(self, bint clean)
    cpdef pause_request(self)
    cpdef resume_request(self)

@cython.final
cdef class UpstreamConnection:
    cdef public Owner owner
    cdef public Body _body
    cdef public object _on_lost, _read, _tunnel, _cut, tls, transport
    cdef public bytes _buffer
    cdef public Py_ssize_t _head_bytes
    cdef public bint _clean, _keep_alive, _paused, heard, lost, reused, vanished
    cdef public double opened_at, usable_until
    cpdef begin(self, Owner owner, bytes data)
    cpdef give_up_after(self, Py_ssize_t seconds)
    cpdef bint release(self)
    cpdef pause(self)
    cpdef resume(self)
    cpdef abandon(self)
    cpdef close(self)
    @cython.locals(owner=Owner, body=Body)
    cpdef data_received(self, bytes data)
    @cython.locals(searched=Py_ssize_t, end=Py_ssize_t, head=ResponseHead)
    cdef _read_head(self, Owner owner, bytes data)
    @cython.locals(status=Py_ssize_t, whole=bint, body=Body)
    cdef _begin_body(self, Owner owner, ResponseHead head, bytes rest)
    cdef _fail(self, error)
