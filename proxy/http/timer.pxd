cimport cython

cdef double inf

@cython.final
cdef class Timer:
    cdef object _loop, _expired
    cdef public object _handle
    cdef public double _deadline, _due
    @cython.locals(now=double)
    cpdef set(self, double seconds)
    cpdef clear(self)
    cpdef cancel(self)
    cdef _arm(self, double seconds)
    cpdef _fire(self)
