cimport cython

@cython.final
cdef class LengthBody:
    cdef public object remaining

cpdef bytes encode_chunk(list parts)
cpdef bytes chunk_content(bytes chunk)
cpdef bint answer_has_body(bytes method, Py_ssize_t status)
cpdef request_body(length, bint chunked)
cpdef response_body(bytes method, Py_ssize_t status, length, bint chunked)
