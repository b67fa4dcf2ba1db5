cimport cython

@cython.final
cdef class SelfCheck:
    cdef public object verdict, _questions, _policy, _needed, _logged, _problem
    cdef public bint _allow_privileged
    cdef public double _logged_at
    cpdef problem(self)

@cython.final
cdef class WithheldCredential:
    cdef public object _credential
    cdef public SelfCheck _check
