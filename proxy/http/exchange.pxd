cimport cython

from proxy.http.audit_id cimport new_audit_id
from proxy.http.body cimport Body, answer_has_body, chunk_content, encode_chunk, request_body
from proxy.http.head cimport RequestHead, ResponseHead, write_response
from proxy.http.known cimport Known, Line
from proxy.http.pool cimport Pool
from proxy.http.service cimport Admission, Service
from proxy.http.upstream cimport Owner, UpstreamConnection
from proxy.http.timer cimport Timer
from proxy.impersonation cimport Impersonation
from proxy.limits cimport Tally

cdef class Client:
    cdef public double accepted_at
    cdef public object loop, transport
    cdef public str address
    cdef public Timer timer
    cpdef send(self, bytes data)
    cpdef join(self, tunnel)
    cpdef cut(self)
    cpdef exchange_ended(self, bint close, bint request_done)
    cpdef update_reading(self)

cdef class Exchange(Owner):
    cdef public Body _body
    cdef public object _task, info, session, error, missing
    cdef public bint _chunking, _close, _retried, _reuse, _until_close, _upstream_full
    cdef public bint client_left, impersonation_forbidden, request_done, truncated
    cdef public list _held
    cdef public bytes _id_line, _sniffed
    cdef public Pool _pool
    cdef public Service _service
    cdef public Tally _tally
    cdef public UpstreamConnection _upstream
    cdef public Admission admission
    cdef public dict annotations
    cdef public double answered_at, began_at, completed_at, ended_at, received_at, sent_at
    cdef public str audit_id, kind
    cdef public Py_ssize_t bytes_received, bytes_sent, status
    cdef public Client client
    cdef public RequestHead head
    @cython.locals(target=bytes)
    cpdef start(self)
    @cython.locals(now=double, upstream=UpstreamConnection)
    cdef _proceed(self)
    cdef _enter(self, Admission admission)
    cdef _open_session(self)
    cdef Pool _bare_pool(self)
    cdef _send(self, UpstreamConnection upstream, Admission admission, bytes credential)
    @cython.locals(known=Known, line=Line, fields=bytes)
    cdef bytes _outgoing(self, identity, bytes credential)
    @cython.locals(body=Body)
    cpdef bytes client_data(self, bytes data)
    cpdef client_lost(self)
    cpdef timed_out(self)
    cdef bytes _framed(self, list parts)
    cdef _await_answer(self)
    cpdef pause_response(self)
    cpdef resume_response(self)
    cdef bint _is_last(self)
    @cython.locals(unknown_length=bint, lines=bytes)
    cdef bytes _framing(self, ResponseHead head)
    cdef _answer(self, bytes head, list parts, bint done)
    cdef _finish(self)
    cpdef refuse(self, error)
    cpdef stop(self, error)
    cdef _end(self)
    cdef _send_client(self, bytes data)
    cdef _abandon_upstream(self)
