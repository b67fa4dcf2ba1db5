cimport cython

cdef Py_ssize_t _SIZE, _CONTENT, _CONTENT_END, _TRAILER, _ZERO, MAX_SIZE_DIGITS
cdef bytes _DIGITS

cdef class Body:
    cdef public bint done
    cpdef bint is_chunk(self, bytes data)
    cpdef feed(self, bytes data)

cdef class LengthBody(Body):
    cdef public object remaining
    cpdef feed(self, bytes data)

cdef class CloseBody(Body):
    cpdef feed(self, bytes data)

cdef class ChunkedBody(Body):
    cdef public object _error
    cdef public bytes _line
    cdef public Py_ssize_t _remaining, _state, _trailer_bytes
    @cython.locals(size=Py_ssize_t, end=Py_ssize_t, digit=Py_ssize_t)
    cpdef bint is_chunk(self, bytes data)
    @cython.locals(parts=list, position=Py_ssize_t, end=Py_ssize_t, content=bytes)
    cpdef feed(self, bytes data)
    cdef _keep(self, bytes line)
    cdef _take_line(self, bytes line)
    cdef _take_size(self, bytes line)

cpdef bytes encode_chunk(list parts)
cpdef bytes chunk_content(bytes chunk)
cpdef bint answer_has_body(bytes method, Py_ssize_t status)
cpdef Body request_body(length, bint chunked)
cpdef Body response_body(bytes method, Py_ssize_t status, length, bint chunked)
