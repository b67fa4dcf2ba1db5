from proxy.http.service cimport Observer

cdef class Several(Observer):
    cdef public object _observers

cpdef guarded(tell, of)
