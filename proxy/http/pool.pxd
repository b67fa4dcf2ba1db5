cimport cython

from proxy.http.upstream cimport UpstreamConnection

cdef class Pool:
    cdef public object _host, _port, _server_name, _settings, _connect, _buffers, _loop, _context, _heads
    cdef public list _idle
    cdef public set _open
    cdef public bint reachable
    @cython.locals(connection=UpstreamConnection, now=double)
    cpdef UpstreamConnection take(self)
    @cython.locals(now=double, idle=double)
    cpdef give_back(self, UpstreamConnection connection)
    cpdef close_idle(self)
    cdef bint _expired(self, UpstreamConnection connection, double now)
    cpdef _forget(self, UpstreamConnection connection)
