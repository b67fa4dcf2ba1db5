cpdef str new_audit_id()
