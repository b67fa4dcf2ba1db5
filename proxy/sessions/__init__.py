"""What exec, attach and port-forward sessions are, seen from a copy of their bytes.

The tunnel joins two transports and knows no protocol; nothing here changes that. What passes is
shown to a ``Session``, which reads as much of it as it needs for the audit (how a command ended)
and for a recording (what was printed), never holds anything up, and gives up at the first thing
that it does not understand. All reading is pure; only the recorder touches the disk.
"""
