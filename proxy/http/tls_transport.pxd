cimport cython

cdef Py_ssize_t _PIECE, _RECORD

@cython.final
cdef class Buffers:
    cdef public object socket, incoming, outgoing
    cdef public list writers
    cdef public Py_ssize_t in_turn, at_once
    cpdef send_later(self, TLSTransport writer)
    cpdef _end_turn(self)
    @cython.locals(writer=TLSTransport)
    cdef _send(self)

@cython.final
cdef class TLSTransport:
    cdef public Buffers _buffers
    cdef public bint _fresh
    cdef public object _inner, _made, _protocol, _raw, _timer, _tls
    cdef public str _state
    cdef public bytes _unsent
    @cython.locals(buffers=Buffers, content=bytes, end=str, most=Py_ssize_t)
    cpdef buffer_updated(self, Py_ssize_t size)
    cpdef write(self, data)
    cpdef send(self)
    cpdef abort(self)
    @cython.locals(buffers=Buffers)
    cdef _put_off(self, bytes encrypted)
    cdef _flush(self)
