"""``/.auth-proxy/whoami``: the page on which who was bounced reads why, and who was not, as whom.

The verdict is the gate's own, asked as for any request; the account of it is that of ``explain``,
without what only those who run this may know. A stranger learns from it what every refusal says,
and has nobody asked for them.
"""
