cimport cython

from proxy.http.head cimport RequestHead
from proxy.impersonation cimport Impersonation

@cython.final
cdef class Line:
    cdef public object info
    cdef public str kind
    cdef public bytes method, start, target

@cython.final
cdef class Known:
    cdef public bytes token_key, _credential, _fields, _user_agent
    cdef public object _authorization
    cdef public frozenset _options
    cdef public tuple _passing, _forwarded_for
    cdef public Impersonation _identity
    cpdef RequestHead head(self, Line line, bytes block)
    cpdef bytes sent(self, identity, bytes credential)

@cython.final
cdef class HeadReader:
    cdef public object _headers, _max_fields, _new_line, _known_line, _keyed
    cdef public dict _young, _old
    cpdef RequestHead read(self, bytes head)
    @cython.locals(end=Py_ssize_t, line=Line)
    cpdef RequestHead read_again(self, bytes head, Known known, bytes block)
    cdef RequestHead _read_new(self, bytes head, Py_ssize_t end, bytes key)
    cdef _keep(self, bytes key, Known known)
