"""What is seen from outside: metrics, ``Server-Timing``, logs and traces, all from one record per request."""
