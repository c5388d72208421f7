"""Builds and wires the objects of each process.

Owns who is handed what, and the order of starting and stopping. Decides nothing about requests; the processes
themselves are started and restarted by the supervisor.
"""
