cimport cython

from proxy.http.head cimport ResponseHead

cdef Py_ssize_t _ID_END

@cython.final
cdef class ResponseReader:
    cdef public dict _heads, _starts
    cdef public set _lines
    cdef public object _is_known
    cpdef ResponseHead read(self, bytes head)

@cython.locals(begin=Py_ssize_t, end=Py_ssize_t, audit_id=bytes)
cpdef bytes _without_id(bytes head)
