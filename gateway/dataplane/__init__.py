"""The customer's request: from the socket to its one outcome.

Owns the client connection, the reading of request heads, the writing of answers and the order of the stages.
Does not own what a stage decides, nor the connection to the upstream.
"""
