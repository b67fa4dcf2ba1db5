cimport cython

@cython.final
cdef class RequestHead:
    cdef public bytes method, target
    cdef public bint http11
    cdef public tuple passing, authorization, websocket_protocols
    cdef public frozenset options
    cdef public bytes upgrade
    cdef public object content_length
    cdef public bint chunked, expects_continue
    cdef public tuple impersonation, forwarded_for
    cdef public bytes user_agent
    cdef public object known, line  # Known and Line, whose module knows this one

@cython.final
cdef class ResponseHead:
    cdef public Py_ssize_t status
    cdef public bytes line
    cdef public bint http11
    cdef public tuple passing
    cdef public frozenset options
    cdef public bytes upgrade
    cdef public object content_length
    cdef public bint chunked
    cdef public bytes lines
    cdef public bint keep_alive
    cpdef __post_init__(self)  # or Cython warns of its own code, which calls it

cpdef bytes write_response(ResponseHead head, bytes framing)
